"""``sdgen_config.json`` in the working directory."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass
class GlobalConfig:
    configs_dir: str = "./prompts"
    output_dir: str = "./results"
    api_url: str = ""


def load_global_config():
    path = Path.cwd() / "sdgen_config.json"
    if not path.exists():
        raise FileNotFoundError("no sdgen_config.json")
    try:
        stored = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"bad {path}: {error}") from error
    known = {key: stored[key] for key in GlobalConfig.__annotations__ if key in stored}
    return GlobalConfig(**known)
