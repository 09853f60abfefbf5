"""The schema's tables and migrations, where Piccolo looks for them."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from adapters.postgres import tables

APP_CONFIG = AppConfig(
    app_name="pandaprobe",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(tables.ALL),
    migration_dependencies=[],
    commands=[],
)
