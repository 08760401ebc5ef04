-- Stands for TimescaleDB: the functions and views that we use, with the names, arguments and types of its
-- documentation (https://docs.tigerdata.com/api/latest/). They note what they are asked for and check little.
CREATE SCHEMA timescaledb_information;
CREATE TABLE timescaledb_information.hypertables (hypertable_schema name, hypertable_name name);
CREATE TABLE timescaledb_information.dimensions (
    hypertable_schema name, hypertable_name name, column_name name, time_interval interval);
CREATE TABLE timescaledb_information.jobs (
    hypertable_schema name, hypertable_name name, proc_name name, config jsonb);
CREATE TABLE calls (number serial, call text);
-- Of the same name, as from version 2.13 on.
CREATE TYPE dimension_info AS (column_name name);
CREATE FUNCTION create_hypertable(relation regclass, dimension dimension_info,
    create_default_indexes boolean = TRUE, if_not_exists boolean = FALSE, migrate_data boolean = FALSE)
RETURNS TABLE (hypertable_id int, created bool) LANGUAGE sql AS 'SELECT 1, TRUE';
CREATE FUNCTION create_hypertable(relation regclass, time_column_name name, partitioning_column name = NULL,
    number_partitions int = NULL, associated_schema_name name = NULL, associated_table_prefix name = NULL,
    chunk_time_interval anyelement = NULL::bigint, create_default_indexes boolean = TRUE,
    if_not_exists boolean = FALSE, partitioning_func regproc = NULL, migrate_data boolean = FALSE,
    chunk_target_size text = NULL, chunk_sizing_func regproc = NULL, time_partitioning_func regproc = NULL)
RETURNS TABLE (hypertable_id int, schema_name name, table_name name, created bool) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
    -- As TimescaleDB does: "cannot create a unique index without the column ... (used in partitioning)".
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = relation AND indisunique AND NOT (
        SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = time_column_name) = ANY (indkey)) THEN
        RAISE 'cannot create a unique index without the column "%" (used in partitioning)', time_column_name;
    END IF;
    IF NOT migrate_data AND (SELECT reltuples FROM pg_class WHERE oid = relation) > 0 THEN
        RAISE 'table "%" is not empty', relation;
    END IF;
    INSERT INTO timescaledb_information.hypertables VALUES ('public', relation::text);
    INSERT INTO timescaledb_information.dimensions VALUES
        ('public', relation::text, time_column_name, chunk_time_interval::text::interval);
    INSERT INTO calls (call) VALUES (format('create_hypertable %s %s %s default indexes %s, data %s',
        relation, time_column_name, chunk_time_interval, create_default_indexes, migrate_data));
    RETURN QUERY SELECT 1, 'public'::name, relation::text::name, TRUE;
END $$;
CREATE FUNCTION set_chunk_time_interval(hypertable regclass, chunk_time_interval anyelement, dimension_name name = NULL)
RETURNS void LANGUAGE sql AS $$
    UPDATE timescaledb_information.dimensions SET time_interval = chunk_time_interval::text::interval
    WHERE hypertable_name = hypertable::text::name;
    INSERT INTO calls (call) VALUES (format('set_chunk_time_interval %s %s', hypertable, chunk_time_interval))
$$;
CREATE FUNCTION add_compression_policy(hypertable regclass, compress_after interval = NULL,
    if_not_exists bool = FALSE, schedule_interval interval = NULL)
RETURNS int LANGUAGE sql AS $$
    INSERT INTO timescaledb_information.jobs VALUES ('public', hypertable::text::name, 'policy_compression',
        jsonb_build_object('compress_after', compress_after::text));
    INSERT INTO calls (call) VALUES (format('add_compression_policy %s %s', hypertable, compress_after)) RETURNING 1000
$$;
CREATE FUNCTION remove_compression_policy(hypertable regclass, if_exists bool = FALSE)
RETURNS bool LANGUAGE sql AS $$
    DELETE FROM timescaledb_information.jobs
    WHERE hypertable_name = hypertable::text::name AND proc_name = 'policy_compression';
    INSERT INTO calls (call) VALUES (format('remove_compression_policy %s', hypertable)) RETURNING TRUE
$$;
CREATE FUNCTION add_retention_policy(relation regclass, drop_after interval = NULL,
    if_not_exists bool = FALSE, schedule_interval interval = NULL)
RETURNS int LANGUAGE sql AS $$
    INSERT INTO timescaledb_information.jobs VALUES ('public', relation::text::name, 'policy_retention',
        jsonb_build_object('drop_after', drop_after::text));
    INSERT INTO calls (call) VALUES (format('add_retention_policy %s %s', relation, drop_after)) RETURNING 1001
$$;
CREATE FUNCTION remove_retention_policy(relation regclass, if_exists bool = FALSE)
RETURNS void LANGUAGE sql AS $$
    DELETE FROM timescaledb_information.jobs
    WHERE hypertable_name = relation::text::name AND proc_name = 'policy_retention';
    INSERT INTO calls (call) VALUES (format('remove_retention_policy %s', relation))
$$;
-- So that the extension counts as installed.
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 99999, 'timescaledb', 10, oid, FALSE, '2.17.2' FROM pg_namespace WHERE nspname = 'public';
