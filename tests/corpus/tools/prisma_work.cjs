// Prisma's client over its own query compiler and the pg adapter.
const fs = require('node:fs'), os = require('node:os'), path = require('node:path')
const { spawnSync } = require('node:child_process')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'prisma-'))
fs.symlinkSync(process.env.NODE_PATH, path.join(folder, 'node_modules'))
fs.writeFileSync(path.join(folder, 'package.json'), '{}')
fs.writeFileSync(path.join(folder, 'schema.prisma'), `
generator client {
  provider = "prisma-client-js"
  output = "./client"
}
datasource db {
  provider = "postgresql"
}
model Team {
  id Int @id @default(autoincrement())
  name String @unique
  meta Json?
  tags String[]
  members Member[]
  @@map("pr_team")
}
model Member {
  id String @id @default(uuid())
  name String
  score Decimal @default(0)
  at DateTime @default(now())
  team Team @relation(fields: [teamId], references: [id], onDelete: Cascade)
  teamId Int
  @@index([teamId])
  @@map("pr_member")
}
`)
fs.writeFileSync(path.join(folder, 'prisma.config.ts'), 'export default { schema: "./schema.prisma" }\n')
const run = spawnSync(process.execPath, [path.join(process.env.NODE_PATH, 'prisma/build/index.js'), 'generate', '--schema', path.join(folder, 'schema.prisma')], { encoding: 'utf8', cwd: folder, env: { ...process.env, HOME: folder, PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1', PRISMA_HIDE_UPDATE_MESSAGE: '1' } })
if (run.status) { console.error(run.stdout + run.stderr); process.exit(1) }
const { PrismaClient } = require(path.join(folder, 'client'))
const { PrismaPg } = require('@prisma/adapter-pg')
const { Pool } = require('pg')
async function main() {
  const pool = new Pool({ max: 1 })
  // What `prisma migrate` would have written.
  await pool.query('CREATE TABLE "pr_team" ("id" SERIAL NOT NULL, "name" TEXT NOT NULL, "meta" JSONB, "tags" TEXT[], CONSTRAINT "pr_team_pkey" PRIMARY KEY ("id"));\n\n-- CreateTable\nCREATE TABLE "pr_member" ("id" TEXT NOT NULL, "name" TEXT NOT NULL, "score" DECIMAL(65,30) NOT NULL DEFAULT 0, "at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "teamId" INTEGER NOT NULL, CONSTRAINT "pr_member_pkey" PRIMARY KEY ("id"));\n\n-- CreateIndex\nCREATE UNIQUE INDEX "pr_team_name_key" ON "pr_team"("name");\n-- AddForeignKey\nALTER TABLE "pr_member" ADD CONSTRAINT "pr_fk" FOREIGN KEY ("teamId") REFERENCES "pr_team"("id") ON DELETE CASCADE ON UPDATE CASCADE;')
  await pool.end()
  const e = process.env
  const db = new PrismaClient({ adapter: new PrismaPg({ host: e.PGHOST, port: +e.PGPORT, user: e.PGUSER, password: e.PGPASSWORD, database: e.PGDATABASE, max: 1 }) })
  await db.team.create({ data: { name: 'one', meta: { a: 1 }, tags: ['x'], members: { create: [{ id: 'a', name: 'm1', score: 1 }, { id: 'b', name: 'm2', score: 2 }] } } })
  console.log((await db.team.findMany({ include: { members: { where: { score: { gt: 1 } }, orderBy: { name: 'asc' } } }, where: { OR: [{ name: { contains: 'O', mode: 'insensitive' } }, { tags: { has: 'x' } }] } }))[0].members.length)
  console.log(await db.member.count({ where: { team: { is: { name: 'one' } } } }), (await db.member.aggregate({ _sum: { score: true }, _max: { name: true } }))._max.name, (await db.member.groupBy({ by: ['teamId'], _count: true })).length)
  await db.team.upsert({ where: { name: 'one' }, update: { meta: { b: 2 } }, create: { name: 'one' } })
  await db.$transaction([db.member.updateMany({ data: { score: { increment: 1 } }, where: { name: { startsWith: 'm' } } }), db.member.createMany({ data: [{ id: 'c', name: 'm3', teamId: 1 }], skipDuplicates: true })])
  await db.$transaction(async (tx) => { await tx.member.delete({ where: { id: 'c' } }) }, { isolationLevel: 'Serializable' })
  console.log((await db.$queryRaw`SELECT name FROM pr_member WHERE id = ${'a'}`).length, await db.$executeRaw`UPDATE pr_member SET name = name WHERE id = ${'a'}`)
  console.log((await db.member.findMany({ cursor: { id: 'a' }, take: 1, skip: 1, orderBy: { id: 'asc' }, distinct: ['name'], where: { teamId: { in: [1, 2, 3] } } })).length)
  await db.team.delete({ where: { name: 'one' } })
  await db.$disconnect()
}
main().catch((error) => { console.error(error); process.exit(1) })
