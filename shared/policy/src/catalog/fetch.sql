-- What the read guard wants to know of a target (14 or newer); asked with search_path = pg_catalog, where every name and
-- operator is PostgreSQL's own. One text for each column; `Builder` in rows.rs reads them.
with
owned as (
    select d.objid, e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
    where d.classid = 'pg_proc'::regclass and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
),
first_rows as (
    -- Types of which a row may be: composite, domains over it, and the pseudo-types that take anything.
    select t.oid from pg_type t where t.typtype in ('c', 'p')
    union all select t.oid from pg_type t join pg_type b on b.oid = t.typbasetype where b.typtype = 'c'
)
select
    'function', p.oid::text, n.nspname::text, p.proname::text,
    p.provolatile::text || p.prokind::text,
    l.lanname::text,
    concat_ws(' ', p.pronargs, p.pronargdefaults, case when p.provariadic <> 0 then 1 else 0 end,
        case when p.pronargs > 0 and p.proargtypes[0] in (select oid from first_rows) then 1 else 0 end),
    coalesce(o.extname::text, ''),
    case when p.proconfig is null then ''
        else (select string_agg(split_part(one, '=', 1), ' ') from unnest(p.proconfig) one) end,
    coalesce((select concat_ws(' ', a.aggtransfn::oid, a.aggfinalfn::oid, a.aggcombinefn::oid, a.aggserialfn::oid,
            a.aggdeserialfn::oid, a.aggmtransfn::oid, a.aggminvtransfn::oid, a.aggmfinalfn::oid)
        from pg_aggregate a where a.aggfnoid = p.oid and p.oid >= 16384), ''),
    case when p.oid >= 16384 and o.extname is null and p.provolatile <> 'v' and l.lanname in ('sql', 'plpgsql')
        then left(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), 65537) else '' end
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
left join owned o on o.objid = p.oid
where p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
    and (p.oid >= 16384 or not 'internal'::regtype = any (p.proargtypes::oid[]))
union all
select 'operator', o.oid::text, n.nspname::text, o.oprname::text, '', '', '', '', '', o.oprcode::oid::text, ''
from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
where o.oid >= 16384 or o.oid in (select min(b.oid) from pg_operator b where b.oid < 16384 group by b.oprname)
union all
select 'cast', c.oid::text, n.nspname::text, t.typname::text, '', '', '', '', '', c.castfunc::oid::text, ''
from pg_cast c join pg_type t on t.oid = c.casttarget join pg_namespace n on n.oid = t.typnamespace
where c.oid >= 16384 and c.castfunc <> 0
union all
select 'domain', t.oid::text, n.nspname::text, t.typname::text, t.typbasetype::text, '', t.typarray::text, '', '',
    coalesce((select string_agg(d.refobjid::text, ' ') from pg_constraint c join pg_depend d on d.objid = c.oid
        where c.contypid = t.oid and d.classid = 'pg_constraint'::regclass and d.refclassid = 'pg_proc'::regclass), ''),
    coalesce((select string_agg(pg_get_constraintdef(c.oid), ' ') from pg_constraint c where c.contypid = t.oid), '')
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where t.typtype = 'd' and t.oid >= 16384
