# ActiveRecord: migrations, the schema dumper, models.
require 'active_record'
require 'stringio'
ActiveRecord::Base.establish_connection(adapter: 'postgresql', host: ENV['PGHOST'], port: ENV['PGPORT'], username: ENV['PGUSER'], password: ENV['PGPASSWORD'], database: ENV['PGDATABASE'], schema_search_path: 'public,store', variables: { statement_timeout: '60s' })
ActiveRecord::Migration.verbose = false
class First < ActiveRecord::Migration[6.1]
  def change
    create_table(:ar_authors, comment: 'Authors') { |t| t.string :name, null: false, limit: 50; t.jsonb :data, default: {}; t.text :tags, array: true, default: []; t.timestamps }
    create_table(:ar_books) { |t| t.string :title; t.decimal :price, precision: 8, scale: 2; t.references :author, foreign_key: { to_table: :ar_authors, on_delete: :cascade }; t.datetime :at }
    add_index :ar_authors, 'lower(name)', name: 'ar_lower'
  end
end
class Second < ActiveRecord::Migration[6.1]
  def change
    add_column :ar_books, :pages, :integer, default: 0, null: false
    rename_column :ar_books, :pages, :length
    add_index :ar_books, %i[title length], unique: true, where: "length > 0"
    add_check_constraint :ar_books, 'length >= 0', name: 'ar_length'
    change_column_null :ar_books, :title, false, ''
    reversible { |d| d.up { execute "COMMENT ON COLUMN ar_books.title IS 'Title'" } }
  end
end
migrations = [ActiveRecord::MigrationProxy.new('First', 1, nil, nil), ActiveRecord::MigrationProxy.new('Second', 2, nil, nil)]
migrations.zip([First, Second]) { |proxy, klass| proxy.define_singleton_method(:migration) { klass.new(name, version) } ; proxy.define_singleton_method(:disable_ddl_transaction) { false } }
ActiveRecord::SchemaMigration.create_table
ActiveRecord::InternalMetadata.create_table
ActiveRecord::Migrator.new(:up, migrations, ActiveRecord::SchemaMigration).migrate
ActiveRecord::Migrator.new(:down, migrations, ActiveRecord::SchemaMigration, 1).migrate
ActiveRecord::Migrator.new(:up, migrations, ActiveRecord::SchemaMigration).migrate
class Author < ActiveRecord::Base; self.table_name = 'ar_authors'; has_many :books, class_name: 'Book', foreign_key: :author_id; end
class Book < ActiveRecord::Base; self.table_name = 'ar_books'; belongs_to :author, class_name: 'Author'; end
author = Author.create!(name: 'One', data: { a: 1 }, tags: %w[x y])
3.times { |n| author.books.create!(title: "b#{n}", price: n, length: n + 1) }
puts Author.includes(:books).where(name: 'One').map { |a| a.books.size }.inspect
puts Author.joins(:books).group(:name).having('count(*) > 1').count.inspect, Book.where(price: 1..2).or(Book.where(title: %w[b0])).order(:id).limit(2).pluck(:title).inspect
puts Book.exists?(title: 'b1'), Book.sum(:price), Book.where("title LIKE ?", 'b%').maximum(:length), Author.where("data @> ?", '{"a":1}').count
Book.transaction { Book.lock.first; Book.transaction(requires_new: true) { Book.where(title: 'b2').delete_all; raise ActiveRecord::Rollback } }
Author.insert_all([{ name: 'Two', created_at: Time.at(0), updated_at: Time.at(0) }])
Author.upsert({ id: author.id, name: 'Uno', created_at: Time.at(0), updated_at: Time.at(0) })
Book.find_each(batch_size: 2) { |b| b.update!(title: b.title.upcase) }
out = StringIO.new
ActiveRecord::SchemaDumper.dump(ActiveRecord::Base.connection, out)
puts out.string.length > 2000
c = ActiveRecord::Base.connection
puts c.tables.size > 5, c.views.size, c.indexes('ar_books').size, c.foreign_keys('ar_books').size, c.extensions.size, c.data_source_exists?('ar_books'), c.primary_key('ar_books'), c.pk_and_sequence_for('ar_books').inspect, c.table_comment('ar_authors'), c.check_constraints('ar_books').size, c.schema_names.size > 1
author.reload.destroy
c.get_advisory_lock(42); c.release_advisory_lock(42)
puts Book.where(id: 1).explain.size > 10
c.drop_table(:ar_books); c.drop_table(:ar_authors, force: :cascade)
