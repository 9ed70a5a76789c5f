//! The rights of the nodes in the stores. Every other test shows that these rights suffice.

use discodeit::store;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, error::DatabaseError, postgres::PgConnectOptions,
};

use crate::support::{Cluster, NODE_REDIS_USER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_role_only_reads_and_writes_rows() {
    let cluster = Cluster::start(1).await;
    let db = &cluster.node(0).app().db;
    for statement in [
        "create table x ()",
        "create function f() returns int language sql return 1",
        "drop table messages",
        "alter table messages add column x int",
        "create index on messages (content)",
        "truncate messages",
        "select * from _sqlx_migrations",
        "delete from _sqlx_migrations",
        "select * from pg_authid",
        "select pg_read_file('/etc/passwd')",
        "copy messages to program 'cat'",
        "create role x",
        "create database x",
        "alter role discodeit_node superuser",
        "set log_error_verbosity = verbose",
        "set role discodeit",
    ] {
        let refused = sqlx::query(statement).execute(db).await;
        let error = refused.expect_err(statement);
        let code = error.as_database_error().and_then(DatabaseError::code);
        // Insufficient privilege; of `drop` and `alter`, not the owner.
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
    // A name or an address of a user is in the detail of an error.
    let verbosity: String = sqlx::query_scalar("show log_error_verbosity")
        .fetch_one(db)
        .await
        .expect("a setting");
    assert_eq!(verbosity, "terse");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_of_the_schema_needs_no_superuser() {
    let cluster = Cluster::without_schema().await;
    let name = format!("owner_{}", uuid::Uuid::new_v4().simple());
    let database: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&cluster.db)
        .await
        .expect("a name");
    for statement in [
        format!("create role {name} login"),
        format!("alter database {database} owner to {name}"),
    ] {
        let done = sqlx::query(AssertSqlSafe(statement))
            .execute(&cluster.db)
            .await;
        done.expect("a superuser may do this");
    }
    let superuser: PgConnectOptions = (*cluster.db.connect_options()).clone();
    let owner = superuser.clone().username(&name);
    for _ in 0..2 {
        let prepared = store::prepare(&owner, Some("discodeit_node")).await;
        prepared.expect("the owner migrates");
    }
    let node = superuser.username("discodeit_node");
    let mut node = PgConnection::connect_with(&node).await.expect("a login");
    let written = sqlx::query(
        "insert into channels (id, type, name) values (gen_random_uuid(), 'PUBLIC', 'x')",
    )
    .execute(&mut node)
    .await;
    written.expect("a node writes rows");
    let refused = sqlx::query("drop table channels").execute(&mut node).await;
    refused.expect_err("a node drops no table");
    // Roles belong to the server of all tests.
    for statement in [
        format!("reassign owned by {name} to current_user"),
        format!("drop owned by {name}"),
        format!("drop role {name}"),
    ] {
        let done = sqlx::query(AssertSqlSafe(statement))
            .execute(&cluster.db)
            .await;
        done.expect("a superuser may do this");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_redis_user_has_only_its_keys_and_no_administration() {
    let mut cluster = Cluster::start(1).await;
    let allowed = async |command: &str, redis: &mut redis::aio::MultiplexedConnection| {
        let mut dry_run = redis::cmd("ACL");
        dry_run.arg("DRYRUN").arg(NODE_REDIS_USER.0);
        for word in command.split(' ') {
            dry_run.arg(word);
        }
        let answer: String = dry_run.query_async(redis).await.expect("an answer");
        answer == "OK"
    };
    for command in [
        "HGET session:1 user",
        "DEL sessions:1",
        "XADD sse:all * a b",
        "INCR ratelimit:login:x",
        "INFO server",
        "TIME",
    ] {
        assert!(allowed(command, &mut cluster.redis).await, "{command}");
    }
    for command in [
        "GET other",
        "SET databases 1",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "SCRIPT FLUSH",
        "CONFIG GET *",
        "ACL LIST",
        "SHUTDOWN",
        "SAVE",
        "DEBUG SLEEP 1",
        "MONITOR",
        "REPLICAOF a 1",
        "MODULE LIST",
        "SWAPDB 0 1",
        "MIGRATE a 1 session:1 0 1",
        "PUBLISH a b",
        "CLIENT KILL TYPE normal",
    ] {
        assert!(!allowed(command, &mut cluster.redis).await, "{command}");
    }
}
