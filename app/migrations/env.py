"""What Alembic runs for every command of ``python main.py migrate...``.

Options of Alembic's ``context.configure`` can be added here: ``run_migrations(context, include_name=...)``.
"""

from alembic import context

from core.database.migrations.environment import run_migrations

run_migrations(context)
