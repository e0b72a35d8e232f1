from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("notes", "0001_initial"),)
    operations = (
        migrations.AlterModelOptions(name="note", options={"ordering": ("-pinned", "-written")}),
        migrations.AddField("note", "pinned", models.BooleanField(default=False, db_default=False)),
    )
