// TypeORM: synchronize, migrations, relations, query builder.
require('reflect-metadata')
const { DataSource, EntitySchema, In, Like, MoreThan, Table, TableColumn, TableForeignKey, TableIndex } = require('typeorm')
const Team = new EntitySchema({ name: 'Team', tableName: 'to_team', columns: { id: { type: Number, primary: true, generated: true }, name: { type: String, unique: true, length: 50 }, meta: { type: 'jsonb', nullable: true }, tags: { type: 'text', array: true, default: [] }, kind: { type: 'enum', enum: ['a', 'b'], default: 'a' }, made: { type: 'timestamptz', createDate: true } }, relations: { members: { type: 'one-to-many', target: 'Member', inverseSide: 'team' } } })
const Member = new EntitySchema({ name: 'Member', tableName: 'to_member', columns: { id: { type: 'uuid', primary: true, default: () => 'gen_random_uuid()' }, name: { type: 'varchar' }, score: { type: 'numeric', precision: 8, scale: 2, default: 0 } }, relations: { team: { type: 'many-to-one', target: 'Team', inverseSide: 'members', onDelete: 'CASCADE', joinColumn: true } }, indices: [{ columns: ['name'] }] })
class First1700000000000 {
  async up(runner) {
    await runner.createTable(new Table({ name: 'to_extra', columns: [{ name: 'id', type: 'serial', isPrimary: true }, { name: 'team', type: 'integer', isNullable: true }] }), true)
    await runner.addColumn('to_extra', new TableColumn({ name: 'note', type: 'text', isNullable: true }))
    await runner.createForeignKey('to_extra', new TableForeignKey({ columnNames: ['team'], referencedTableName: 'to_team', referencedColumnNames: ['id'] }))
    await runner.createIndex('to_extra', new TableIndex({ name: 'to_extra_note', columnNames: ['note'] }))
    await runner.renameColumn('to_extra', 'note', 'remark')
    await runner.changeColumn('to_extra', 'remark', new TableColumn({ name: 'remark', type: 'varchar', length: '100', isNullable: false, default: "''" }))
    await runner.query("INSERT INTO to_extra (remark) VALUES ('x')")
  }
  async down(runner) {
    await runner.dropColumn('to_extra', 'remark')
    await runner.dropTable('to_extra')
  }
}
const e = process.env
const make = (extra) => new DataSource({ type: 'postgres', host: e.PGHOST, port: +e.PGPORT, username: e.PGUSER, password: e.PGPASSWORD, database: e.PGDATABASE, entities: [Team, Member], migrations: [First1700000000000], installExtensions: false, ...extra })
async function main() {
  let source = await make({ synchronize: true }).initialize()
  const teams = source.getRepository('Team'), members = source.getRepository('Member')
  const team = await teams.save({ name: 'one', meta: { a: 1 }, tags: ['x'] })
  await members.save([1, 2, 3].map((n) => ({ name: `m${n}`, score: n, team })))
  console.log(JSON.stringify((await teams.find({ relations: { members: true }, where: { name: Like('o%') } })).map((t) => t.members.length)))
  console.log(await members.countBy({ score: MoreThan(1), name: In(['m1', 'm2', 'm3']) }))
  console.log(JSON.stringify(await members.createQueryBuilder('m').leftJoinAndSelect('m.team', 't').where('t.name = :n', { n: 'one' }).orderBy('m.name').skip(1).take(1).getManyAndCount().then(([a, n]) => [a[0].name, n])))
  console.log(JSON.stringify(await members.createQueryBuilder('m').select('m.teamId', 'team').addSelect('sum(m.score)', 'total').groupBy('m.teamId').getRawMany()))
  await source.transaction(async (manager) => { await manager.increment('Member', { name: 'm1' }, 'score', 2); await manager.createQueryBuilder().setLock('pessimistic_write').select('m').from('Member', 'm').getMany() })
  await teams.upsert({ name: 'one', kind: 'b' }, ['name'])
  await members.delete({ name: 'm3' })
  await source.runMigrations()
  await source.showMigrations()
  console.log((await source.driver.createSchemaBuilder().log()).upQueries.length)
  await source.destroy()
  source = await make({ synchronize: true }).initialize()
  await source.undoLastMigration()
  await source.createQueryRunner().getTables(['to_team', 'to_member'])
  await source.dropDatabase().catch((error) => console.log(error.code))
  await source.destroy()
}
main().catch((error) => { console.error(error); process.exit(1) })
