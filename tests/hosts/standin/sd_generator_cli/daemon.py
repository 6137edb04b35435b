"""Services in the background, each with a PID file and a log."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

console = Console()
HOME = Path.home() / ".sdgen"


def _pid_file(service):
    return HOME / "pids" / f"{service}.pid"


def _spawn(service, command):
    for name in ("pids", "logs"):
        (HOME / name).mkdir(parents=True, exist_ok=True)
    with (HOME / "logs" / f"{service}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    _pid_file(service).write_text(str(process.pid))
    console.print(f"[green]✓ {service} started[/green]")
    return process.pid


def is_process_running(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def get_service_status(service):
    try:
        pid = int(_pid_file(service).read_text().strip())
    except (FileNotFoundError, ValueError):
        return False, None
    if not is_process_running(pid):
        _pid_file(service).unlink(missing_ok=True)
        return False, None
    return True, pid


def stop_service(service, timeout=5):
    running, pid = get_service_status(service)
    if running:
        os.kill(pid, signal.SIGTERM)
        for _ in range(timeout * 10):
            if not is_process_running(pid):
                break
            time.sleep(0.1)
        else:
            os.kill(pid, signal.SIGKILL)
    _pid_file(service).unlink(missing_ok=True)
    return True


def start_watchdog(sessions_dir, db_path=None):
    return _spawn("watchdog", [sys.executable, "-m", "sd_generator_watchdog.cli", "run", str(sessions_dir)])


def start_thumbnail_watchdog(sessions_dir, target_dir=None):
    target = target_dir or Path.cwd() / "thumbnails"
    module = [sys.executable, "-m", "sd_generator_watchdog.cli", "thumbnail"]
    folders = ["--source-dir", str(sessions_dir), "--target-dir", str(target)]
    return _spawn("thumbnail_watchdog", [*module, *folders])


def start_backend(port, webui_path):
    return _spawn("backend", [sys.executable, "-c", "import time; time.sleep(600)"])
