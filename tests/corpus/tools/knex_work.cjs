// Knex: schema, migrations, query builder.
const e = process.env
const migrations = { getMigrations: async () => ['1'], getMigrationName: (name) => name, getMigration: async () => ({ up: (k) => k.schema.alterTable('kx_b', (t) => { t.string('more', 20).defaultTo('x'); t.renameColumn('n', 'number') }), down: (k) => k.schema.alterTable('kx_b', (t) => { t.dropColumn('more'); t.renameColumn('number', 'n') }) }) }
const knex = require('knex')({ client: 'pg', connection: { host: e.PGHOST, port: +e.PGPORT, user: e.PGUSER, password: e.PGPASSWORD, database: e.PGDATABASE }, searchPath: ['public', 'store'], pool: { min: 0, max: 1 }, migrations: { migrationSource: migrations } })
async function main() {
  await knex.schema.createTable('kx_a', (t) => { t.increments(); t.string('name').notNullable().unique(); t.jsonb('data'); t.timestamps(true, true); t.enu('kind', ['a', 'b']) })
  await knex.schema.createTable('kx_b', (t) => { t.bigIncrements(); t.integer('a_id').references('kx_a.id').onDelete('CASCADE').index(); t.decimal('n', 8, 2) })
  await knex.migrate.latest()
  await knex.migrate.rollback()
  console.log(await knex.schema.hasTable('kx_a'), await knex.schema.hasColumn('kx_b', 'n'), Object.keys(await knex('kx_a').columnInfo()).length)
  const [{ id }] = await knex('kx_a').insert({ name: 'one', data: { a: 1 } }).returning('id')
  await knex('kx_b').insert([1, 2, 3].map((n) => ({ a_id: id, n })))
  await knex('kx_a').insert({ name: 'one' }).onConflict('name').merge({ kind: 'a' })
  console.log(JSON.stringify(await knex('kx_a as a').join('kx_b as b', 'a.id', 'b.a_id').select('a.name').sum('b.n').groupBy('a.name').havingRaw('count(*) > ?', [0])))
  await knex.transaction(async (trx) => { await trx('kx_b').where('n', '>', 2).del(); await trx('kx_b').forUpdate().select('id'); await trx.raw('select ?::int', [1]) })
  console.log(JSON.stringify(await knex.with('x', knex('kx_b').select('n')).select('*').from('x').whereIn('n', [1, 2]).orderBy('n').limit(1).offset(1)), JSON.stringify(await knex('products').withSchema('store').first('title').where({ id: 1 })))
  await knex('kx_a').truncate().catch((error) => console.log(error.code))
  await knex.schema.dropTableIfExists('kx_b').dropTable('kx_a')
  await knex.schema.dropTable('knex_migrations').dropTable('knex_migrations_lock')
  await knex.destroy()
}
main().catch((error) => { console.error(error); process.exit(1) })
