"""What PostgreSQL's catalogue is asked of one table, `:oid`. Each answer is rows of JSON."""

from sqlalchemy import TextClause, text

NEAR: TextClause = text(
    """
    select format('%s.%s', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace
     where lower(relname) = :table and relkind in ('r', 'p') and nspname !~ '^pg_' order by 1 limit 3
    """
)

EVERY_TABLE: TextClause = text(
    """
    select relname, format('%s.%s', nspname, relname) as name from pg_class join pg_namespace n on n.oid = relnamespace
     where relkind in ('r', 'p') and not relispartition and nspname !~ '^pg_' and nspname <> 'information_schema'
       and has_schema_privilege(n.oid, 'usage')
    """
)

HEAD = """
    select c.oid::bigint, n.nspname as schema, c.relname as name, cast(c.relkind as text) as kind, c.reltuples as rows,
           has_table_privilege(c.oid, 'select') as may_select,
           has_table_privilege(c.oid, 'delete') as may_delete,
           has_any_column_privilege(c.oid, 'update') as may_update,
           row_security_active(c.oid) as filtered, cast(current_user as text) as role,
           has_schema_privilege(n.oid, 'usage') as reachable,
           c.relhastriggers as has_triggers, c.relhasrules as has_rules, c.relhassubclass as has_children,
           c.relhastriggers and exists (
                select from pg_trigger where tgrelid = c.oid and tgconstrrelid <> 0 and tgtype & 8 > 0
           ) as has_references,
           case when c.relkind <> 'p' and not c.relhassubclass then pg_total_relation_size(c.oid) else (
                with recursive tree (oid) as (
                    select c.oid union select inhrelid from tree join pg_inherits on inhparent = tree.oid
                ) select coalesce(sum(pg_total_relation_size(tree.oid)), 0)::bigint from tree) end as bytes,
           c.relkind = 'r' and c.relhassubclass and exists (
                select from pg_inherits where inhparent = c.oid) as inherited,
           exists (select from pg_publication where pubdelete or pubupdate) as has_publications
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""

UNIDENTIFIED = """
    with recursive tree (oid) as (
        select cast(:oid as oid) union select inhrelid from tree join pg_inherits on inhparent = tree.oid
    )
    select format('%I.%I', n.nspname, c.relname) as name, cast(p.pubname as text) as publication,
           array_remove(array[case when p.pubdelete then 'delete' end, case when p.pubupdate then 'update' end], null)
               as events
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      join pg_publication p on p.puballtables or exists (
               select from pg_publication_tables t
                where t.pubname = p.pubname
                  and to_regclass(format('%I.%I', t.schemaname, t.tablename)) in (select oid from tree))
     where c.relkind = 'r' and c.relpersistence = 'p'
       and (c.relreplident = 'n' or c.relreplident = 'd' and not exists (
               select from pg_index where indrelid = c.oid and indisprimary and indisvalid))
     order by 1, 2
"""

COLUMNS = """
    select attname as name, format_type(atttypid, atttypmod) as type,
           attnotnull or (select typnotnull from pg_type where oid = atttypid) as required,
           cast(behind.typname as text) as base, format_type(behind.oid, -1) as sent_as,
           own.typcategory not in ('N', 'D', 'T', 'B', 'E') and own.typname not in ('uuid', 'xid8', 'pg_lsn')
               as personal,
           (select pg_get_expr(adbin, adrelid) from pg_attrdef
             where attgenerated = '' and adrelid = attrelid and adnum = attnum) as default,
           attgenerated <> '' or attidentity = 'a' as generated
      from pg_attribute join pg_type own on own.oid = atttypid
      join pg_type behind on behind.oid = case when own.typbasetype = 0 then own.oid else (
                with recursive domains (oid, basetype) as (
                    select own.oid, own.typbasetype
                    union all
                    select t.oid, t.typbasetype from domains join pg_type t on t.oid = basetype
                ) select domains.oid from domains where basetype = 0) end
     where attrelid = :oid and attnum > 0 and not attisdropped
     order by attnum
"""

INDEXES = """
    select c.relname as name, am.amname as method, i.indisunique as unique,
           pg_get_expr(i.indpred, i.indrelid) as predicate,
           array(select pg_get_indexdef(i.indexrelid, k, true) from generate_series(1, i.indnkeyatts) k) as keys,
           array(select cast(a.attname as text) from unnest(i.indkey) with ordinality as key (number, place)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number
                  where place <= i.indnkeyatts order by place) as columns,
           i.indisunique and i.indpred is null and i.indimmediate and not exists (
               select from unnest(i.indkey) with ordinality as key (number, place)
                 left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number and a.attnotnull
                where place <= i.indnkeyatts and a.attnum is null) as is_key
      from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam
     where i.indrelid = :oid and i.indisvalid and i.indisready and i.indislive
     order by i.indisprimary desc, i.indnkeyatts, c.relname
"""

# Of partitioned tables, on either side, the parent's constraint stands for all that PostgreSQL made of it; a key to one
# partition alone counts as one to the table.
REFERENCES = """
    select o.conname as name, n.nspname as schema, o.conrelid::bigint as child,
           array(select cast(attname as text) from unnest(conkey) with ordinality as k (number, place)
                   join pg_attribute on attrelid = conrelid and attnum = number order by place) as columns,
           array(select cast(attname as text) from unnest(confkey) with ordinality as k (number, place)
                   join pg_attribute on attrelid = confrelid and attnum = number order by place) as parent_columns,
           cast(confdeltype as text) as on_delete, condeferrable as deferrable,
           -- A table with partitions is as well indexed as the worst of those that hold its rows.
           (with recursive tree (oid) as (
                select o.conrelid union all
                select inhrelid from tree join pg_inherits on inhparent = tree.oid where c.relkind = 'p'
            ) select json_agg(json_build_object('oid', leaf.oid::bigint, 'indexes', array(
                         select (select json_agg(case when i.indcollation[place - 1] in (0, a.attcollation)
                                                      then a.attname end order by place)
                                   from unnest(i.indkey) with ordinality as key (number, place)
                                   left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number
                                  where place <= least(i.indnkeyatts, cardinality(o.conkey)))
                           from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam
                          where i.indrelid = leaf.oid and i.indisvalid
                            and (am.amname = 'btree' or am.amname = 'hash' and cardinality(o.conkey) = 1)
                            -- One of all rows that refer at all finds them as well.
                            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) in (
                                    select format('(%I IS NOT NULL)', attname) from pg_attribute
                                     where attrelid = o.conrelid and attnum = any (o.conkey))))))
              from tree join pg_class leaf on leaf.oid = tree.oid
             where leaf.relkind <> 'p' or not leaf.relhassubclass) as leaves,
           case when p.relkind = 'p' and p.oid = :oid or p.relkind <> 'p' and p.oid = :oid and not p.relhassubclass
                then array[]::bigint[]
                when p.relkind = 'p' then p.oid::bigint || array(
                     select cast(cast(relid as oid) as bigint) from pg_partition_tree(p.oid) where isleaf)
                else array[p.oid::bigint] end as among,
           c.relkind = 'r' and c.relhassubclass as alone,
           array(select cast(attname as text) from jsonb_array_elements_text(case
                     when jsonb_typeof(to_jsonb(o) -> 'confdelsetcols') = 'array' then to_jsonb(o) -> 'confdelsetcols'
                     else to_jsonb(o.conkey) end) as k (number)
                   join pg_attribute on attrelid = conrelid and attnum = cast(number as int)) as empties,
           coalesce(cast(to_jsonb(o) ->> 'conperiod' as boolean), false) as period,
           array(select pg_get_expr(k.conbin, k.conrelid) from pg_constraint k
                  where k.conrelid = o.conrelid and k.contype = 'c' and k.conkey && o.conkey and o.confdeltype = 'n'
                    and coalesce(cast(to_jsonb(k) ->> 'conenforced' as boolean), true) order by k.conname) as checks,
           (select min(cast(tgname as text) collate "C") from pg_trigger
             where tgconstraint = o.oid and tgrelid = o.confrelid and tgtype & 8 > 0) as turn
      from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
      join pg_class p on p.oid = o.confrelid
     where o.contype = 'f' and o.conparentid = 0 and o.confrelid in (
               with recursive tree (oid) as (
                   select cast(:oid as oid) union all
                   select inhrelid from tree join pg_inherits on inhparent = tree.oid
               ) select oid from tree)
       and exists (select from pg_trigger
                    where tgconstraint = o.oid and tgrelid = o.confrelid and tgenabled in ('O', 'A'))
     order by n.nspname, c.relname, o.conname
"""

STATISTICS = """lateral (
          select * from pg_stats where schemaname = n.nspname and tablename = c.relname and not inherited offset 0
      ) s"""
"""The planner's statistics of the table `c` in the schema `n`. As a plain join they would be read of all tables of the
database, which takes longer with each of them: so they are looked up for this one."""

# Of how many rows a column's most frequent value is, or an average one where that is more.
SHARED = text(
    f"""
    select c.oid::bigint as oid, cast(a.attname as text) as column, greatest(c.reltuples, 0) as rows,
           row_number() over (partition by c.oid order by a.attnum) = 1 as first,
           case when c.reltuples = 0 then 0 when s.n_distinct <> 0 and c.reltuples > 0 then greatest(
                coalesce(s.most_common_freqs[1], 0) * c.reltuples,
                case when s.n_distinct > 0 then c.reltuples / s.n_distinct else -1 / s.n_distinct end)
           end as shared
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attname = any (cast(:columns as text[]))
      left join {STATISTICS} on s.attname = a.attname
     where c.oid = any (cast(:oids as oid[]))
    """  # noqa: S608 - a constant of this module
)

TRIGGERS = """
    select cast(tgname as text) as name, tgtype & 2 > 0 as before, tgtype & 1 > 0 as each_row,
           tgtype & 8 > 0 as on_delete
      from pg_trigger where tgrelid in (
               with recursive tree (oid) as (
                   select cast(:oid as oid) union all
                   select inhrelid from tree join pg_inherits on inhparent = tree.oid
               ) select oid from tree)
       and tgparentid = 0 and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 24 > 0
     order by tgname
"""

RULES = """
    select rulename as name, case ev_type when '4' then 'delete' else 'update' end as event, is_instead as instead,
           cast(ev_qual as text) <> '<>' as conditional
      from pg_rewrite
     where ev_class = :oid and ev_type in ('2', '4') and ev_enabled in ('O', 'A') order by 1
"""

# The root, its partitions at every level, and of plain inheritance all that inherit.
TREE = """
    with recursive tree (oid, parent, depth) as (
        select cast(:oid as oid), cast(null as oid), 0
        union all
        select inhrelid, inhparent, depth + 1
          from tree join pg_inherits on inhparent = tree.oid where not inhdetachpending
    )
    select tree.oid::bigint, min(tree.parent::bigint) as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, cast(p.partstrat as text) as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           case when c.relkind = 'r' then pg_relation_size(c.oid) / current_setting('block_size')::int end as blocks,
           c.reltuples as rows,
           (select json_agg(json_build_object('name', format('%I.%I', inn.nspname, ic.relname),
                       'unique', i.indisunique, 'columns', array(
                       select cast(attname as text) from unnest(i.indkey) with ordinality as key (number, place)
                         join pg_attribute on attrelid = i.indrelid and attnum = number order by place))
                   order by i.indnkeyatts, ic.relname)
              from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam
              join pg_namespace inn on inn.oid = ic.relnamespace
             where i.indrelid = c.oid and am.amname = 'btree' and (i.indisvalid or c.relkind = 'p') and i.indisready
               and i.indislive and i.indpred is null and i.indexprs is null and i.indnatts = i.indnkeyatts) as keyed
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      left join pg_partitioned_table p on p.partrelid = c.oid
     group by tree.oid, n.nspname, c.relname, c.relkind, p.partstrat, c.oid, c.reltuples
     order by min(tree.depth), n.nspname, c.relname
"""

# The same of an ordinary table without children.
ALONE = """
    select c.oid::bigint, null as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, null as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           pg_relation_size(c.oid) / current_setting('block_size')::int as blocks, c.reltuples as rows,
           null as keyed
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""
