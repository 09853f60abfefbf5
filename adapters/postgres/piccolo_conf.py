"""What Piccolo asks for: one engine a process. It connects when its pool is opened, not before."""

from piccolo.conf.apps import AppRegistry

from adapters.postgres.engine import Engine

DB = Engine(config={})

APP_REGISTRY = AppRegistry(apps=["adapters.postgres.schema.piccolo_app"])
