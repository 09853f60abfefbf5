"""Tells Piccolo where the migrations are. They are SQL; Piccolo compares no table classes."""

from piccolo.conf.apps import AppConfig

from adapters.postgres.schema.pending import MIGRATIONS_APP, MIGRATIONS_FOLDER

APP_CONFIG = AppConfig(app_name=MIGRATIONS_APP, migrations_folder_path=str(MIGRATIONS_FOLDER))
