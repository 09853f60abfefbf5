"""The migrations, where Piccolo looks for them. They are SQL: it compares no table classes."""

from piccolo.conf.apps import AppConfig

from adapters.postgres.schema.pending import APP, FOLDER

APP_CONFIG = AppConfig(app_name=APP, migrations_folder_path=str(FOLDER))
