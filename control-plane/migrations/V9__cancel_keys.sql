-- Which session a cancel request is for: a keyed digest of the secret its client was told. Null: no cancel from other
-- proxies. Four-byte secrets are not unique; the proxy that holds the session checks the whole key.
alter table connections add column cancel_key bytea;
create index connections_cancel_key on connections (cancel_key) where ended_at is null and cancel_key is not null;
