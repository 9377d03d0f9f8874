"""How alembic writes the script: a transaction a revision, into the caller's buffer."""

from alembic import context

context.configure(
    dialect_name="postgresql",
    output_buffer=context.config.output_buffer,
    transaction_per_migration=True,
    version_table_schema="directoire",
)
with context.begin_transaction():
    context.run_migrations()
