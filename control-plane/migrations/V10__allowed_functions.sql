-- What read grants may do at a target, and what is known of the login they use.

alter table databases
    -- Functions that read grants may call although the catalog does not show them to be harmless: schema.function.
    add column allowed_functions text[] not null default '{}',
    -- Whether the login of read grants could write when it was last tested; null: not tested since it was set.
    add column reader_can_write boolean;

create function databases_reader_changed() returns trigger language plpgsql as $$
begin
    new.reader_can_write := null;
    return new;
end $$;
create trigger databases_reader_changed before update on databases
    for each row when (
        (new.host, new.port, new.database_name, coalesce(new.read_username, new.username))
        is distinct from
        (old.host, old.port, old.database_name, coalesce(old.read_username, old.username)))
    execute function databases_reader_changed();
