"""What the tests share: ``from support.engine import …``, with tests/ on the path (pythonpath in pyproject.toml)."""
