"""The command line of a host that fires the hooks by itself."""

import json
from dataclasses import dataclass
from pathlib import Path

import pluggy
import typer

__sdgen_plugins__ = pluggy.PluginManager("sdgen")
__sdgen_plugins__.load_setuptools_entrypoints("sdgen")

hook = __sdgen_plugins__.hook
app = typer.Typer(name="sdgen", no_args_is_help=True, add_completion=False)
webui_app = typer.Typer(name="webui")
app.add_typer(webui_app, name="webui")
hook.sdgen_register_commands(app=app)


@dataclass(frozen=True)
class Project:
    root: Path
    output_dir: Path
    target_dir: Path
    config: dict


def _project():
    root = Path.cwd()
    config = json.loads((root / "sdgen_config.json").read_text())
    return Project(root, root / config.get("output_dir", "results"), root / "thumbnails", config)


@webui_app.command("start")
def webui_start():
    """Start the services."""
    hook.sdgen_webui_start(project=_project())


@webui_app.command("stop")
def webui_stop():
    """Stop the services."""
    hook.sdgen_webui_stop(project=_project())


@app.command("generate")
def generate(count: int = typer.Option(1, "--count", "-n")):
    """Generate images."""
    from PIL import Image

    project = _project()
    session = project.output_dir / "20261101_120000-native"
    session.mkdir(parents=True)
    images = []
    try:
        for number in range(count):
            images.append(session / f"native_{number:04d}.png")
            Image.linear_gradient("L").resize((64, 96)).save(images[-1])
            hook.sdgen_image_saved(project=project, session_dir=session, image=images[-1])
    finally:
        hook.sdgen_generate_finished(project=project, session_dir=session, images=images)
