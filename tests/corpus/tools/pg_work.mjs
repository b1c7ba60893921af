// node-postgres, postgres.js and pg-promise: queries, parameters, transactions, cursors.
import { createRequire } from 'node:module'
const require = createRequire(process.env.NODE_PATH + '/')
const pg = require('pg')
const which = process.argv[2]
const show = (value) => console.log(JSON.stringify(value))
if (which === 'pg') {
  const pool = new pg.Pool({ max: 2 })
  show((await pool.query('SELECT id, title, price, tags, attributes, created_at FROM store.products ORDER BY id')).rows)
  show((await pool.query('SELECT $1::text AS a, $2::int AS b, $3::jsonb AS c', ['x', 1, { k: 1 }])).rows)
  const client = await pool.connect()
  await client.query('BEGIN')
  show((await client.query('INSERT INTO store.categories (parent_id, name) VALUES ($1, $2) RETURNING id', [1, 'node'])).rowCount)
  for (let n = 0; n < 2; n++) show((await client.query({ name: 'by-id', text: 'SELECT title FROM store.products WHERE id = $1', values: [1] })).rows)
  show((await client.query({ text: 'SELECT id, title FROM store.products ORDER BY id', rowMode: 'array' })).rows)
  await client.query('ROLLBACK')
  try { await client.query('SELECT 1/0') } catch (error) { show(error.code) }
  show((await client.query('SELECT 1 AS a; SELECT 2 AS b')).map((result) => result.rows))
  await client.query('LISTEN news')
  await client.query("SET TIME ZONE 'UTC'")
  client.release()
  await pool.end()
} else if (which === 'postgres') {
  const sql = require('postgres')({ onnotice: () => {}, ssl: false })
  show(await sql`SELECT id, title, price, tags, mood FROM store.products WHERE id = ${1}`)
  show(await sql`SELECT * FROM ${sql('store.categories')} WHERE id IN ${sql([1, 2])} ORDER BY id`)
  await sql.begin(async (sql) => {
    const [row] = await sql`INSERT INTO store.categories ${sql({ parent_id: 1, name: 'js' }, 'parent_id', 'name')} RETURNING name`
    show(row)
    await sql.savepoint(async (sql) => { await sql`UPDATE store.categories SET ${sql({ name: 'js2' })} WHERE name = 'js'` })
    await sql`INSERT INTO store.categories ${sql([{ parent_id: 1, name: 'a' }, { parent_id: 1, name: 'b' }])}`
  })
  await sql`SELECT id FROM store.products ORDER BY id`.cursor(1, ([row]) => show(row))
  show(await sql`SELECT ${sql.array(['a', 'b'])}::text[] AS a, ${sql.json({ a: 1 })}::jsonb AS b`)
  show((await sql.unsafe('SELECT 1 AS a; SELECT 2 AS a')).length)
  await sql.end()
} else {
  const db = require('pg-promise')()({ host: process.env.PGHOST, port: +process.env.PGPORT, database: process.env.PGDATABASE, user: process.env.PGUSER, password: process.env.PGPASSWORD })
  show(await db.any('SELECT id, name FROM store.categories WHERE id IN ($1:csv) ORDER BY id', [[1, 2]]))
  show(await db.one('SELECT ${title} AS title, $<n> AS n', { title: "it's", n: 1 }))
  show(await db.tx(async (t) => {
    await t.none('INSERT INTO store.categories (parent_id, name) VALUES ($1, $2)', [1, 'promise'])
    return t.tx((inner) => inner.result('DELETE FROM store.categories WHERE name = $1', ['promise'], (r) => r.rowCount))
  }))
  show(await db.multi('SELECT 1 AS a; SELECT 2 AS b'))
  await db.$pool.end()
}
