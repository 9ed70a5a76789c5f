//! Migrations: from every earlier schema to the one in schema.sql, without loss, and beside nodes of other versions.

use std::{collections::BTreeMap, sync::Arc};

use discodeit::store;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::support::{ADMIN, Cluster};

/// The schema of the first version.
const FIRST: &str = include_str!("fixtures/schema-first.sql");
/// The schema that the last version before migrations ran at each start.
const BEFORE_MIGRATIONS: &str = include_str!("fixtures/schema-before-migrations.sql");
/// The schema for people to read.
const CURRENT: &str = include_str!("../../schema.sql");

const FIRST_ROWS: &str = include_str!("fixtures/rows-first.sql");
const LATER_ROWS: &str = include_str!("fixtures/rows-before-migrations.sql");

/// An empty database, without nodes.
async fn empty() -> Cluster {
    Cluster::without_schema().await
}

async fn run(db: &PgPool, sql: &'static str) {
    db.execute(sqlx::raw_sql(sql)).await.expect(sql);
}

async fn migrate(db: &PgPool) {
    let migrated = store::prepare(&db.connect_options(), None).await;
    migrated.expect("the migrations run");
}

/// Everything in the catalogue that makes up the schema, one line each; sqlx's own table is left out.
async fn schema(db: &PgPool) -> Vec<String> {
    const SQL: &str = "with \
        relation as ( \
            select c.* from pg_class c where c.relnamespace = 'public'::regnamespace and c.relname not like '\\_sqlx%' \
        ), \
        line (text) as ( \
            select format('relation %s: kind %s, persistence %s, options %s, row security %s', \
                relname, relkind, relpersistence, reloptions, relrowsecurity) from relation \
            union all \
            select format('column %s.%s %s: type %s, not null %s, identity %s, generated %s, default %s, collation %s', \
                r.relname, row_number() over (partition by r.oid order by a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), \
                a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation) \
            from relation r join pg_attribute a on a.attrelid = r.oid left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum \
            where r.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped \
            union all \
            select format('constraint %s.%s: %s, validated %s', r.relname, o.conname, pg_get_constraintdef(o.oid), o.convalidated) \
            from relation r join pg_constraint o on o.conrelid = r.oid where o.contype <> 'n' \
            union all \
            select format('index %s: %s, valid %s', r.relname, pg_get_indexdef(r.oid), i.indisvalid) \
            from relation r join pg_index i on i.indexrelid = r.oid \
            union all \
            select format('view %s: %s', relname, pg_get_viewdef(oid)) from relation where relkind in ('v', 'm') \
            union all \
            select format('sequence %s: %s %s %s %s %s %s, of %s.%s', r.relname, format_type(s.seqtypid, null), s.seqstart, s.seqincrement, \
                s.seqmin, s.seqmax, s.seqcycle, d.refobjid::regclass, d.refobjsubid) \
            from relation r join pg_sequence s on s.seqrelid = r.oid \
            left join pg_depend d on d.objid = r.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i' \
            union all \
            select format('trigger %s.%s: %s', r.relname, t.tgname, pg_get_triggerdef(t.oid)) \
            from relation r join pg_trigger t on t.tgrelid = r.oid where not t.tgisinternal \
            union all \
            select format('function %s', pg_get_functiondef(p.oid)) from pg_proc p where p.pronamespace = 'public'::regnamespace \
            union all \
            select format('type %s: %s', t.typname, t.typtype) from pg_type t \
            where t.typnamespace = 'public'::regnamespace and t.typrelid = 0 and t.typelem = 0 \
        ) \
        select text from line order by text";
    sqlx::query_scalar(SQL)
        .fetch_all(db)
        .await
        .expect("the catalogue can be read")
}

/// The schema that schema.sql makes.
async fn current_schema() -> Vec<String> {
    let cluster = empty().await;
    run(&cluster.db, CURRENT).await;
    schema(&cluster.db).await
}

/// The rows of every table as JSON without nulls, so that a column added later, which is null, makes no difference.
///
/// Leaves out later columns with a value in existing rows.
async fn rows(db: &PgPool) -> BTreeMap<String, Vec<String>> {
    const LATER: &str = "username_look,mentions_only,visible_after,with_history";
    const TABLES: &str = "select tablename::text from pg_tables where schemaname = 'public' and tablename not like '\\_sqlx%'";
    let tables: Vec<String> = sqlx::query_scalar(TABLES)
        .fetch_all(db)
        .await
        .expect("the catalogue can be read");
    let mut all = BTreeMap::new();
    for table in tables {
        let sql = format!(
            "select (jsonb_strip_nulls(to_jsonb(t)) - '{{{LATER}}}'::text[])::text from {table} t order by 1"
        );
        let rows = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(db)
            .await
            .expect("the table can be read");
        all.insert(table, rows);
    }
    all
}

/// Removes the messages that wait to be indexed, and returns their number.
fn waiting(rows: &mut BTreeMap<String, Vec<String>>) -> usize {
    let waiting = rows.remove("unindexed_messages");
    waiting.expect("the table is there").len()
}

/// The migrations that the database has, with the instant of each.
async fn applied(db: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select to_jsonb(m)::text from _sqlx_migrations m order by version")
        .fetch_all(db)
        .await
        .expect("the migrations can be read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_make_exactly_the_schema_in_schema_sql() {
    let cluster = empty().await;
    migrate(&cluster.db).await;
    let migrated = schema(&cluster.db).await;
    assert!(migrated.len() > 80, "{migrated:#?}");
    assert_eq!(migrated, current_schema().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_changes_nothing() {
    let cluster = empty().await;
    migrate(&cluster.db).await;
    run(&cluster.db, FIRST_ROWS).await;
    let state = async || {
        (
            schema(&cluster.db).await,
            rows(&cluster.db).await,
            applied(&cluster.db).await,
        )
    };
    let before = state().await;
    migrate(&cluster.db).await;
    assert_eq!(state().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_first_version_keeps_its_rows() {
    let mut cluster = empty().await;
    run(&cluster.db, FIRST).await;
    run(&cluster.db, FIRST_ROWS).await;
    let before = rows(&cluster.db).await;
    assert_eq!(before.len(), 6);
    assert!(before.values().all(|rows| !rows.is_empty()), "{before:#?}");
    migrate(&cluster.db).await;
    assert_eq!(schema(&cluster.db).await, current_schema().await);
    let mut after = rows(&cluster.db).await;
    after.retain(|table, rows| before.contains_key(table) || !rows.is_empty());
    // Ann is an administrator, so the settings create none.
    assert_eq!(
        after.remove("admin_bootstrap").map(|rows| rows.len()),
        Some(1)
    );
    assert_eq!(waiting(&mut after), before["messages"].len());
    assert_eq!(after, before);
    cluster.add(&[]).await;
    let admin = cluster.visitor(0).login(ADMIN.0, ADMIN.1).await;
    assert_eq!(admin.status, 401, "{admin:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_last_version_before_migrations_keeps_its_rows() {
    let mut cluster = empty().await;
    run(&cluster.db, BEFORE_MIGRATIONS).await;
    run(&cluster.db, FIRST_ROWS).await;
    run(&cluster.db, LATER_ROWS).await;
    let mut before = rows(&cluster.db).await;
    assert_eq!(before.len(), 9);
    assert!(before.values().all(|rows| !rows.is_empty()), "{before:#?}");
    migrate(&cluster.db).await;
    assert_eq!(schema(&cluster.db).await, current_schema().await);
    let pending = before.remove("remains").expect("the table of before");
    before.insert("pending_deletions".to_owned(), pending);
    let mut after = rows(&cluster.db).await;
    assert_eq!(
        after.remove("admin_bootstrap").map(|rows| rows.len()),
        Some(1)
    );
    for new in [
        "deleted_client_ids",
        "mentions",
        "message_terms",
        "reactions",
    ] {
        assert_eq!(after.remove(new), Some(Vec::new()));
    }
    assert_eq!(waiting(&mut after), before["messages"].len());
    assert_eq!(after, before);
    cluster.add(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_of_the_first_files_and_notifications_are_dropped_and_lost_notifications_queued()
 {
    let cluster = empty().await;
    for step in [
        include_str!("../../migrations/0001_first_schema.sql"),
        include_str!("../../migrations/0002_notifications.sql"),
        include_str!("../../migrations/0004_files.sql"),
        FIRST_ROWS,
        "insert into notifications (id, receiver_id, type, cause_id, title, content, created_at) \
         select gen_random_uuid(), '00000000-0000-0000-0000-0000000000b1', 'NEW_MESSAGE', cause, 'x', 'x', now() \
         from unnest('{00000000-0000-0000-0000-0000000000d1, 00000000-0000-0000-0000-0000000000d9}'::uuid[]) cause",
    ] {
        run(&cluster.db, step).await;
    }
    migrate(&cluster.db).await;
    assert_eq!(schema(&cluster.db).await, current_schema().await);
    let pending: Vec<(String, String)> =
        sqlx::query_as("select kind, id::text from pending_deletions")
            .fetch_all(&cluster.db)
            .await
            .expect("read");
    let deleted = "00000000-0000-0000-0000-0000000000d9";
    assert_eq!(pending, [("MESSAGE".to_owned(), deleted.to_owned())]);
}

/// A database of an earlier version, which folded only the case of names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_an_earlier_version_get_their_keys_and_keep_their_accounts() {
    let mut cluster = empty().await;
    run(&cluster.db, BEFORE_MIGRATIONS).await;
    run(&cluster.db, FIRST_ROWS).await;
    let insert = async |name: &str, key: &str| {
        sqlx::query(
            "insert into users (id, username, username_key, email, email_key, password_hash, role) \
             select format('00000000-0000-0000-0001-%s', lpad(count(*)::text, 12, '0'))::uuid, \
             $1, $2, count(*) || '@b.c', count(*) || '@b.c', 'hash of ' || $1, 'USER' from users",
        )
        .bind(name)
        .bind(key)
        .execute(&cluster.db)
        .await
        .expect("inserted");
    };
    let decomposed = "\u{1100}\u{1175}\u{11b7}";
    for (name, key) in [
        ("admin", "admin"),
        ("ａｄｍｉｎ", "ａｄｍｉｎ"),
        ("аdmin", "аdmin"),
        ("Νίκος", "νίκος"),
        (decomposed, decomposed),
        ("😀", "😀"),
    ] {
        insert(name, key).await;
    }
    migrate(&cluster.db).await;
    let users = async || -> Vec<(String, String, Option<String>)> {
        sqlx::query_as("select username, username_key, username_look from users order by id")
            .fetch_all(&cluster.db)
            .await
            .expect("read")
    };
    let found = users().await;
    let expected = [
        ("Ann", "ann", Some("ann")),
        ("Bob", "bob", Some("bob")),
        ("admin", "admin", Some("admin")),
        ("ａｄｍｉｎ", "ａｄｍｉｎ", None),
        ("аdmin", "аdmin", None),
    ];
    for (user, expected) in found.iter().zip(expected) {
        assert_eq!((&*user.0, &*user.1, user.2.as_deref()), expected);
    }
    for (name, key, look) in &found[5..] {
        assert_eq!(*key, discodeit::model::text::name_key(name));
        assert_eq!(
            look.as_deref(),
            Some(&*discodeit::model::text::name_look(name))
        );
    }
    assert_eq!(found[6].1, "김");
    let db = store::Db::new((*cluster.db.connect_options()).clone(), 1, Arc::default());
    for (name, hash_of) in [
        ("ADMIN", "admin"),
        ("ａｄｍｉｎ", "ａｄｍｉｎ"),
        ("аdmin", "аdmin"),
        ("ΝΊΚΟΣ", "Νίκος"),
        ("김", decomposed),
        (decomposed, decomposed),
    ] {
        let keys = discodeit::model::Username::login_keys(name);
        let found = store::users::credentials(&db, &keys).await;
        let found = found.expect("read").unwrap_or_else(|| panic!("{name}"));
        assert_eq!(found.password_hash, format!("hash of {hash_of}"), "{name}");
    }

    // The next start gives a free look to the user who lacks it, and a look to a name that an older node has changed.
    run(
        &cluster.db,
        "delete from users where username = 'admin'; \
         update users set username = 'bobby', username_key = 'bobby' where username = 'Bob'",
    )
    .await;
    migrate(&cluster.db).await;
    let found = users().await;
    assert_eq!(found[1].2.as_deref(), Some("bobby"));
    let admin = (
        "ａｄｍｉｎ".to_owned(),
        "admin".to_owned(),
        Some("admin".to_owned()),
    );
    assert_eq!(found[2], admin);
    assert_eq!(found[3].2, None);
    assert_eq!(schema(&cluster.db).await, current_schema().await);
    cluster.add(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_start_at_once_both_become_ready() {
    let mut cluster = empty().await;
    cluster.add_unready(&[]).await;
    cluster.add_unready(&[]).await;
    for node in 0..2 {
        cluster.visitor(node).until_ready().await;
    }
    assert_eq!(schema(&cluster.db).await, current_schema().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_runs_take_turns() {
    let cluster = empty().await;
    let runs = (0..8).map(|_| {
        let owner = cluster.db.connect_options();
        tokio::spawn(async move { store::prepare(&owner, Some("discodeit_node")).await })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("no panic").expect("the migrations run");
    }
    assert_eq!(schema(&cluster.db).await, current_schema().await);
}

/// An older node restarts during a rolling upgrade, or after a rollback.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_on_a_database_with_a_migration_of_a_later_version() {
    let mut cluster = empty().await;
    migrate(&cluster.db).await;
    run(
        &cluster.db,
        "alter table messages add column pinned_at timestamptz; \
         insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9999, 'pin messages', true, '\\x00', 1)",
    )
    .await;
    cluster.add(&[]).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
}

/// A node of the last version before migrations runs its schema at start and uses the table's earlier name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_from_before_migrations_starts_and_purges_on_a_migrated_database() {
    let cluster = empty().await;
    migrate(&cluster.db).await;
    run(&cluster.db, BEFORE_MIGRATIONS).await;
    assert_eq!(schema(&cluster.db).await, current_schema().await);

    let id = uuid::Uuid::new_v4();
    let mut transaction = cluster.db.begin().await.expect("a transaction");
    sqlx::query("insert into remains (kind, id) select 'CHANNEL', unnest($1::uuid[])")
        .bind([id])
        .execute(&mut *transaction)
        .await
        .expect("inserted");
    let number: i64 = sqlx::query_scalar("select number from remains order by number limit 10")
        .fetch_one(&mut *transaction)
        .await
        .expect("listed");
    let locked: (String, uuid::Uuid) =
        sqlx::query_as("select kind, id from remains where number = $1 for update skip locked")
            .bind(number)
            .fetch_one(&mut *transaction)
            .await
            .expect("locked");
    assert_eq!(locked, ("CHANNEL".to_owned(), id));
    let deleted = sqlx::query("delete from remains where number = $1")
        .bind(number)
        .execute(&mut *transaction)
        .await
        .expect("deleted");
    assert_eq!(deleted.rows_affected(), 1);
}

/// An edited migration would leave databases that ran the earlier text behind without notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_with_another_text_is_an_error() {
    let cluster = empty().await;
    migrate(&cluster.db).await;
    run(
        &cluster.db,
        "update _sqlx_migrations set checksum = '\\x00' where version = 1",
    )
    .await;
    let owner = cluster.db.connect_options();
    let error = store::prepare(&owner, None).await.expect_err("refused");
    assert!(error.to_string().contains("has been modified"), "{error}");
}
