"""The schema's tables and migrations, where Piccolo looks for them."""

from piccolo.conf.apps import AppConfig

from adapters.postgres.schema import tables
from adapters.postgres.schema.pending import APP, FOLDER

APP_CONFIG = AppConfig(
    app_name=APP,
    migrations_folder_path=str(FOLDER),
    table_classes=list(tables.ALL),
    migration_dependencies=[],
    commands=[],
)
