-- The indexes that lists of the record are read along; docs/performance.md ("Reading") shows the plan of each filter.
-- Each is in the order of ids, which is the order of lists. A user's and a database's statements are those of their
-- grants, so that one index serves all three. The partial ones hold few of the statements and cost the others nothing.
drop index queries_connection, queries_user, queries_database, queries_grant;
create index queries_connection on queries (connection_id, id);
create index queries_grant on queries (grant_id, id);
create index queries_refused on queries (id) where refusal <> '';
create index queries_slow on queries (id) where duration_us >= 100000;
create index queries_large on queries (id) where row_count >= 1000;

create index connections_incomplete on connections (id) where not audit_complete;
