"""The command line."""

import atexit
import base64
import io
import json
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.panel import Panel

from sd_generator_cli.commands import webui_app
from sd_generator_cli.config.global_config import load_global_config

app = typer.Typer(name="sdgen", help="Generates images", add_completion=False, no_args_is_help=True)
app.add_typer(webui_app, name="webui")
console = Console()
_manifest_path = None
_annotations = None


def _end_annotations():
    global _annotations
    worker, _annotations = _annotations, None
    if worker is not None:
        worker.stop()


def _interrupted(number, frame):
    if _manifest_path is not None:
        _write_status("aborted")
    _end_annotations()
    sys.exit(0)


signal.signal(signal.SIGINT, _interrupted)
signal.signal(signal.SIGTERM, _interrupted)
atexit.register(_end_annotations)


def _write_status(status):
    _manifest_path.write_text(json.dumps({"status": status}))


def _draw(number):
    from PIL import Image

    image = Image.linear_gradient("L").resize((256, 384)).rotate(10 * number).convert("RGB")
    with io.BytesIO() as file:
        image.save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode("ascii")


def _generate(
    template_path, global_config, count, api_url, dry_run, console, session_name_override=None, theme_name=None
):
    global _manifest_path, _annotations
    from sd_generator_cli.api import AnnotationWorker, ImageWriter

    wanted = template_path.read_text("utf-8")
    base = Path(global_config.output_dir) / ("dryrun" if dry_run else "")
    session = base / f"{datetime.now():%Y%m%d_%H%M%S}-{session_name_override or 'Plain'}"
    session.mkdir(parents=True)
    _manifest_path = session / "manifest.json"
    _write_status("ongoing")
    writer = ImageWriter(session)
    if "annotations" in wanted and not dry_run:
        _annotations = AnnotationWorker()
    for number in range(count):
        name = f"Plain_{number:04d}_seed-{100 + number}.png"
        if dry_run:
            (session / name).with_suffix(".json").write_text("{}")
            continue
        path = writer.save_image(_draw(number), name)
        console.print(f"image {number + 1} of {count}")
        if "broken" in wanted:
            raise typer.Exit(1)
        if _annotations is not None:
            _annotations.submit(path, {"Mood": "calm"})
        if number + 1 < count:
            time.sleep(0.2)
    _write_status("completed")
    _end_annotations()
    console.print(Panel(f"Images saved to:\n  {session}", title="✓ Generation Complete"))


@app.command("generate")
def generate_images(
    template: Path = typer.Option(..., "--template", "-t", exists=True),
    count: int = typer.Option(1, "--count", "-n", min=1),
    dry_run: bool = typer.Option(False, "--dry-run"),
    session_name: str = typer.Option(None, "--session-name", "-sn"),
):
    """Generate images."""
    try:
        config = load_global_config()
    except (FileNotFoundError, ValueError) as error:
        console.print(f"[red]✗ {error}[/red]")
        raise typer.Exit(1) from None
    _generate(
        template_path=template,
        global_config=config,
        count=count,
        api_url=config.api_url,
        dry_run=dry_run,
        console=console,
        session_name_override=session_name,
    )


@app.command("list")
def list_templates():
    """List templates."""
    for path in sorted(Path(load_global_config().configs_dir).glob("*.yaml")):
        console.print(path.name)


if __name__ == "__main__":
    app()
