// Kysely: schema builder, migrator with its lock, introspection; node-pg-migrate.
const e = process.env
const which = process.argv[2]
const { Pool } = require('pg')
async function kysely() {
  const { Kysely, Migrator, PostgresDialect, sql } = require('kysely')
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ max: 1 }) }) })
  const first = { up: async (k) => { await k.schema.createTable('ky_pet').addColumn('id', 'serial', (c) => c.primaryKey()).addColumn('name', 'varchar(30)', (c) => c.notNull().unique()).execute(); await k.schema.createIndex('ky_pet_i').on('ky_pet').column('name').execute(); await k.schema.createView('ky_v').as(k.selectFrom('ky_pet').select('name')).execute() }, down: async (k) => { await k.schema.dropView('ky_v').execute(); await k.schema.dropTable('ky_pet').execute() } }
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ first }) } })
  const up = await migrator.migrateToLatest()
  if (up.error) throw up.error
  console.log((await db.introspection.getTables()).length > 5, (await db.introspection.getSchemas()).length)
  await db.insertInto('ky_pet').values([{ name: 'a' }, { name: 'b' }]).onConflict((c) => c.column('name').doNothing()).execute()
  console.log(JSON.stringify(await db.selectFrom('ky_pet').selectAll().where((b) => b.or([b('name', '=', 'a'), b('id', 'in', [1, 2])])).orderBy('id').execute()))
  await db.transaction().execute((t) => t.updateTable('ky_pet').set({ name: sql`upper(name)` }).where('id', '=', 1).returning('name').execute())
  await db.deleteFrom('ky_pet').using('ky_v').whereRef('ky_pet.name', '=', 'ky_v.name').execute()
  const down = await migrator.migrateDown()
  if (down.error) throw down.error
  await db.destroy()
}
async function migrate() {
  const fs = require('node:fs'), os = require('node:os'), path = require('node:path')
  const { pathToFileURL } = require('node:url')
  const { runner } = await import(pathToFileURL(path.join(e.NODE_PATH, 'node-pg-migrate/dist/bundle/index.js')).href)
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'npm-'))
  fs.writeFileSync(path.join(dir, '1_first.cjs'), "exports.up = (p) => { p.createTable('nm_a', { id: 'id', name: { type: 'text', notNull: true }, at: { type: 'timestamp', default: p.func('current_timestamp') } }); p.createIndex('nm_a', 'name'); p.addColumns('nm_a', { more: { type: 'integer[]' } }); p.addConstraint('nm_a', 'nm_c', 'CHECK (id > 0)'); p.createView('nm_v', {}, 'SELECT id FROM nm_a'); p.createType('nm_t', ['x', 'y']); p.sql('INSERT INTO nm_a (name) VALUES (\\'q\\')') }\nexports.down = (p) => { p.dropType('nm_t'); p.dropView('nm_v'); p.dropTable('nm_a') }\n")
  const options = { databaseUrl: { host: e.PGHOST, port: +e.PGPORT, user: e.PGUSER, password: e.PGPASSWORD, database: e.PGDATABASE }, dir, migrationsTable: 'nm_migrations', log: () => {} }
  console.log((await runner({ ...options, direction: 'up' })).length, (await runner({ ...options, direction: 'up' })).length, (await runner({ ...options, direction: 'down', count: 1 })).length)
}
(which === 'kysely' ? kysely() : migrate()).catch((error) => { console.error(error); process.exit(1) })
