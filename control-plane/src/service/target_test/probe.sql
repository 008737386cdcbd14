select
    current_setting('server_version') as server_version,
    current_setting('is_superuser') = 'on' as is_superuser,
    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls,
    current_setting('is_superuser') = 'on'
    or has_database_privilege(current_database(), 'create')
    or exists (
        select from pg_roles
        where rolname in ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
            and pg_has_role(oid, 'member'))
    or exists (
        select from pg_namespace
        where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege(oid, 'create'))
    or exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            and (has_table_privilege(c.oid, 'insert, update, delete, truncate')
                or has_any_column_privilege(c.oid, 'insert, update')))
    as can_write
