"""L’ordre des lignes, leur réservation, et des index que les lignes terminées ne ralentissent pas.

Le code de la version 0.1.0 publie et livre encore sur cette table.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from ....domain.identifiers import uuid7
from ..models import NextPosition

TABLE = "share_kernel_outbox_delivery"
SEQUENCE = "share_kernel_outbox_position"

# Names and keys compare by bytes; the default collation ignores case, accents and final spaces.
BY_BYTES = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"

FORWARDS = {
    # A table that a later migration makes anew on SQLite loses this index: make it again there.
    "sqlite": [f"CREATE INDEX {SEQUENCE} ON {TABLE} (position)"],
    # Set after the column exists: rows of former versions keep 0, and no table is written anew.
    "postgresql": [
        f"CREATE SEQUENCE {SEQUENCE} OWNED BY {TABLE}.position",
        f"ALTER TABLE {TABLE} ALTER COLUMN position SET DEFAULT nextval('{SEQUENCE}')",
        # Room for the versions of a row beside it: two updates of three then touch no index, and
        # a delivered row takes the same place as in full pages.
        f"ALTER TABLE {TABLE} SET (fillfactor = 50)",
    ],
    "mysql": [
        f"CREATE SEQUENCE {SEQUENCE}",
        f"ALTER TABLE {TABLE} MODIFY position bigint NOT NULL DEFAULT nextval({SEQUENCE})",
        f"ALTER TABLE {TABLE} MODIFY handler varchar(255) {BY_BYTES} NOT NULL",
        f"ALTER TABLE {TABLE} MODIFY `key` varchar(200) {BY_BYTES}",
    ],
}
BACKWARDS = {
    "sqlite": [f"DROP INDEX {SEQUENCE}"],
    "postgresql": [
        f"ALTER TABLE {TABLE} RESET (fillfactor)",
        f"ALTER TABLE {TABLE} ALTER COLUMN position SET DEFAULT 0",
        f"DROP SEQUENCE {SEQUENCE}",
    ],
    "mysql": [
        f"ALTER TABLE {TABLE} MODIFY position bigint NOT NULL DEFAULT 0",
        f"ALTER TABLE {TABLE} MODIFY handler varchar(255) NOT NULL",
        f"DROP SEQUENCE {SEQUENCE}",
    ],
}


def forwards(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Donne les rangs par une séquence, là où la base en a."""
    for statement in FORWARDS.get(editor.connection.vendor, []):
        editor.execute(statement)


def backwards(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Retire la séquence, et un état que la version 0.1.0 ne saurait reprendre."""
    editor.execute(f"UPDATE {TABLE} SET state = 'dead' WHERE state = 'holding'")  # noqa: S608
    for statement in BACKWARDS.get(editor.connection.vendor, []):
        editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("share_kernel_outbox", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="delivery",
            options={"verbose_name": "delivery", "verbose_name_plural": "deliveries"},
        ),
        migrations.AlterField(
            model_name="delivery",
            name="id",
            field=models.UUIDField(
                default=uuid7, editable=False, primary_key=True, serialize=False
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "pending"),
                    ("done", "done"),
                    ("dead", "dead"),
                    ("holding", "dead, holds its key back"),
                ],
                default="pending",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="delivery",
            name="key",
            field=models.CharField(blank=True, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="delivery",
            name="position",
            field=models.BigIntegerField(db_default=0, default=NextPosition, editable=False),
        ),
        migrations.AddField(
            model_name="delivery",
            name="reserved_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(forwards, backwards, atomic=False),
        migrations.RemoveIndex(model_name="delivery", name="delivery_pending"),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["state", "start_after", "position"],
                name="delivery_due",
                condition=models.Q(state="pending"),
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["state", "send_after"],
                name="delivery_send",
                condition=models.Q(state="pending"),
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["state", "handler", "key", "position"],
                name="delivery_key",
                condition=models.Q(state__in=["pending", "holding"], key__isnull=False),
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["state", "settled_at"],
                name="delivery_settled",
                condition=models.Q(settled_at__isnull=False),
            ),
        ),
    ]
