// PostgreSQL locks a table, or turns read-only.

/** @typedef {import("./step.mjs").Step} Step */

/** Locks the messages against everybody. @type {Step} */
export async function lockMessages({ system }) {
  const session = system.sqlSession("begin; lock table messages in access exclusive mode;");
  return { heal: () => session.end() };
}

/** Makes every transaction read-only, those of open connections too. @type {Step} */
export async function readOnly({ system }) {
  await system.sql("alter system set default_transaction_read_only = on; select pg_reload_conf()");
  return {
    heal: () => system.sql("set default_transaction_read_only = off; alter system reset default_transaction_read_only; select pg_reload_conf()"),
  };
}

/**
 * A failover behind one address: each open connection leads to a server that only reads, and stays so; new ones may write.
 *
 * @type {Step}
 */
export async function failOver({ system }) {
  await system.sql(`alter role discodeit_node set default_transaction_read_only = on;
    select pg_terminate_backend(pid) from pg_stat_activity where usename = 'discodeit_node'`);
  return { heal: () => system.sql("alter role discodeit_node reset default_transaction_read_only") };
}
