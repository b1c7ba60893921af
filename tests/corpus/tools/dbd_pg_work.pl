# DBD::Pg: its catalog methods, prepared statements, copies.
use strict; use warnings; use DBI;
my $db = DBI->connect("dbi:Pg:", '', '', { RaiseError => 1, AutoCommit => 1 });
for my $call (sub { $db->table_info(undef, 'store', '%', undef) }, sub { $db->table_info('', '%', '') }, sub { $db->table_info('%', '', '') }, sub { $db->table_info('', '', '', '%') }, sub { $db->column_info(undef, 'store', 'products', '%') }, sub { $db->primary_key_info(undef, 'store', 'products') },
    sub { $db->foreign_key_info(undef, 'store', 'categories', undef, undef, undef) }, sub { $db->foreign_key_info(undef, undef, undef, undef, 'store', 'products') }, sub { $db->statistics_info(undef, 'store', 'products', 0, 0) }, sub { $db->statistics_info(undef, 'store', 'products', 1, 1) }) {
    my $rows = $call->(); print defined $rows ? scalar @{ $rows->fetchall_arrayref } : 0, "\n";
}
print join(',', $db->primary_key(undef, 'store', 'product_categories')), ' ', scalar($db->tables('', 'store', '', '')), ' ', scalar(@{ $db->type_info_all }), "\n";
my $st = $db->prepare('SELECT title FROM store.products WHERE id = ? AND price > ?');
$st->execute(1, 0) for 1 .. 3; print $st->fetchrow_array, "\n"; print join(',', @{ $st->{pg_type} }), "\n";
$db->begin_work; $db->do('INSERT INTO store.categories (parent_id, name) VALUES (?, ?)', undef, 1, 'perl');
print $db->last_insert_id(undef, 'store', 'categories', undef) > 0, "\n"; $db->pg_savepoint('a'); $db->pg_rollback_to('a'); $db->pg_release('a'); $db->rollback;
$db->do('COPY store.categories (name) FROM STDIN'); $db->pg_putcopydata("from perl\n"); $db->pg_putcopyend;
print scalar @{ $db->selectall_arrayref('SELECT * FROM store.categories') }, ' ', $db->ping, ' ', $db->{pg_server_version} > 0, "\n"; $db->disconnect;
