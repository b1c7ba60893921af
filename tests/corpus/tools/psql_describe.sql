\set ON_ERROR_STOP off
\pset pager off
\conninfo
\l
\l+
\l shop
\d
\d+
\dS
\d store.*
\d+ store.*
\d store.products
\d+ store.products
\d public.orders
\d+ public.orders
\d+ store.events
\d+ store.events_2024
\d+ store.cheap
\d+ store.totals
\d+ store.remote
\d+ store.guarded
\d+ store.ticket_number
\d+ store.products_title_idx
\d store."Mixed Case"
\d store.nothing_like_it
\d+ pg_catalog.pg_class
\dt
\dt+
\dt+ store.*
\dt *.*
\di+ store.*
\dv+ store.*
\dm+ store.*
\ds+ store.*
\dE+ store.*
\dP
\dP+ store.*
\dPt+ store.*
\dPi store.*
\dn
\dn+
\dn store
\dnS+
\df
\df store.*
\df+ store.*
\dfa store.*
\dfn store.*
\dfp store.*
\dft store.*
\dfw
\df add int int
\da
\da store.*
\do
\do store.*
\do+ store.*
\dT
\dT+ store.*
\dTS int*
\dD
\dD+ store.*
\dx
\dx+
\dx hstore
\dp
\dp store.*
\z
\z store.products
\ddp
\du
\du+
\dg
\drds
\db
\db+
\dc store.*
\dC
\dC+ store.*
\dd
\dd store.*
\des
\des+
\det
\det+ store.*
\deu
\dew
\dew+
\dF
\dF+ store.*
\dFd simple
\dFp
\dFp+ default
\dFt
\dl
\dL
\dL+
\dO store.*
\dO+ store.*
\dA
\dA+
\dAc
\dAc btree int4
\dAf btree
\dAo btree integer_ops
\dAp btree integer_ops
\dy
\dRp
\dRp+
\dRs
\dX
\dX store.*
\dconfig work_mem
\sf store.add
\sf+ store.touch
\sv store.cheap
\sv+ store.by_category
\encoding
\lo_list
\df pg_catalog.upper
\dtvmsE+ store.*
\set ECHO_HIDDEN noexec
\d store.products
\set ECHO_HIDDEN off
\timing on
\timing off
\x auto
select * from store.by_category order by 1 \gdesc
select * from store.by_category order by 1 \g
select 'select 1' as q \gexec
select 1 as one, 2 as two \gset
select :one, :'two';
select id, title, price from store.products order by id \crosstabview id title price
\errverbose
show server_version_num;
