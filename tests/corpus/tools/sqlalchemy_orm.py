"""SQLAlchemy's ORM: its own tables, loads of every kind, bulk statements."""

import datetime
import enum
import os
import sys

from sqlalchemy import ARRAY, JSON, Enum, ForeignKey, Index, String, and_, case, cast, create_engine, delete, exists, func, insert, literal, or_, select, text, union_all, update
from sqlalchemy.dialects.postgresql import JSONB, insert as pg_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, joinedload, mapped_column, relationship, selectinload, subqueryload

driver = sys.argv[1]
url = "postgresql+{}://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(driver, **os.environ)


class Base(DeclarativeBase):
    pass


class Color(enum.Enum):
    red = 1
    green = 2


class Author(Base):
    __tablename__ = "sa_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    born: Mapped[datetime.date | None]
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sa_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    color: Mapped[Color] = mapped_column(Enum(Color))
    data: Mapped[dict] = mapped_column(JSONB, default=dict)
    tags: Mapped[list[str]] = mapped_column(ARRAY(String), default=list)
    author_id: Mapped[int] = mapped_column(ForeignKey("sa_author.id", ondelete="CASCADE"))
    author: Mapped[Author] = relationship(back_populates="books")
    __table_args__ = (Index("ix_sa_book_title", "title"),)


engine = create_engine(url, insertmanyvalues_page_size=50)
Base.metadata.create_all(engine)
Base.metadata.create_all(engine)
with Session(engine) as session:
    for n in range(3):
        session.add(Author(name=f"author {n}", born=datetime.date(1970, 1, n + 1), books=[Book(title=f"book {n} {m}", color=Color.red, data={"n": m}, tags=["a"]) for m in range(3)]))
    session.commit()
    print(session.scalars(select(Author.name).order_by(Author.name)).all())
    for load in (joinedload, selectinload, subqueryload):
        print([(a.name, len(a.books)) for a in session.scalars(select(Author).options(load(Author.books)).order_by(Author.id)).unique()])
        session.expire_all()
    book = aliased(Book)
    ranked = select(Book.id, func.row_number().over(partition_by=Book.author_id, order_by=Book.id.desc()).label("r")).subquery()
    print(session.execute(select(Author.name, func.count(book.id), func.max(book.title)).join(book, and_(book.author_id == Author.id, book.id.in_([1, 2, 3, 4]))).group_by(Author.name).having(func.count() > 0).order_by(Author.name)).all())
    print(session.execute(select(ranked.c.id).where(ranked.c.r == 1).order_by(ranked.c.id)).all())
    print(session.scalars(select(Book).where(or_(*[Book.id == n for n in range(600)])).order_by(Book.id)).first().title)
    print(session.scalar(select(func.count()).select_from(Book).where(Book.id.in_(range(3000)))))
    print(session.scalars(select(Book.data["n"].as_integer()).where(Book.data.contains({"n": 1}))).all())
    print(session.scalar(select(exists().where(Book.tags.any("a")))))
    print(session.execute(union_all(select(Author.id, literal("a")), select(Book.id, literal("b"))).order_by(text("1, 2")).limit(3).offset(1)).all())
    print(session.execute(select(case((Author.id > 1, "x"), else_="y"), cast(Author.id, String), func.coalesce(Author.born, func.current_date())).order_by(Author.id)).first()[0])
    tree = select(literal(1).label("n")).cte("tree", recursive=True)
    tree = tree.union_all(select(tree.c.n + 1).where(tree.c.n < 5))
    print(session.scalar(select(func.sum(tree.c.n))))
    session.execute(update(Book).where(Book.title.ilike("BOOK 0%")).values(title=Book.title + "!"))
    session.execute(pg_insert(Author).values(name="author 0").on_conflict_do_update(index_elements=["name"], set_={"born": None}))
    session.execute(pg_insert(Author).values(name="author 0").on_conflict_do_nothing())
    print(session.scalars(insert(Author).returning(Author.id), [{"name": f"bulk {n}"} for n in range(120)]).all()[-1])
    session.execute(delete(Author).where(Author.name.startswith("bulk", autoescape=True)))
    print(session.scalars(select(Author).with_for_update(skip_locked=True).order_by(Author.id)).first().name)
    with session.begin_nested():
        session.delete(session.get(Author, 1))
    session.commit()
    print(session.scalar(select(func.count(Book.id))))
with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
    print(conn.scalar(select(func.count(Author.id))))
with engine.connect().execution_options(stream_results=True) as conn:
    print(len(conn.execute(select(Book.id)).fetchall()))
Base.metadata.drop_all(engine)
