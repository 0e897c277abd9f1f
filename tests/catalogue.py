"""What a schema consists of, as PostgreSQL itself writes it down: to compare two databases."""

from sqlalchemy import Engine, text

from nightshift.database import migrations

CATALOGUE = """
select 'column' as kind, format('%s.%s.%s', n.nspname, c.relname, a.attname) as name, format(
        '%s: %s %s %s default %s', a.attnum, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)) as definition
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'v')
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where a.attnum > 0 and not a.attisdropped and n.nspname = any(:schemas)
union all
select 'constraint', format('%s.%s', conrelid::regclass, conname), pg_get_constraintdef(o.oid)
    from pg_constraint o join pg_namespace n on n.oid = connamespace where n.nspname = any(:schemas)
union all
select 'index', format('%s.%s', schemaname, indexname), indexdef from pg_indexes where schemaname = any(:schemas)
union all
select 'view', format('%s.%s', schemaname, viewname), definition from pg_views where schemaname = any(:schemas)
union all
select 'trigger', format('%s.%s', tgrelid::regclass, tgname), pg_get_triggerdef(t.oid)
    from pg_trigger t join pg_class c on c.oid = tgrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(:schemas) and not tgisinternal
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
    from pg_proc p join pg_namespace n on n.oid = pronamespace where n.nspname = any(:schemas)
union all
select 'sequence', format('%s.%s', schemaname, sequencename), data_type::text
    from pg_sequences where schemaname = any(:schemas)
"""

Catalogue = dict[tuple[str, str], str]


def catalogue(engine: Engine, *schemas: str) -> Catalogue:
    with engine.connect() as connection:
        rows = connection.execute(text(CATALOGUE), {"schemas": list(schemas)})
        return {(kind, name): definition for kind, name, definition in rows if migrations.VERSION_TABLE not in name}
