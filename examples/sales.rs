//! A pipeline of your own: sales, each with the name of its shop, in a program of its own.
//!
//! `cargo run --example sales -- --help` shows that it has every command; its configuration is a
//! `longshore.toml` with `[pipelines.sales]` and `topics = ["sales"]`.

#![allow(missing_docs, reason = "diesel's tables bring items without any")]

use std::process::ExitCode;

use diesel::prelude::*;
use longshore::postgres::migrate::MigrationSet;
use longshore::service::PostgresPipeline;
use longshore::{lookups, pipelines, row};
use longshore_actors::error::{Reject, Unworked};
use longshore_actors::pipeline::{Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use serde::Deserialize;
use uuid::Uuid;

diesel::table! { shops (id) { id -> BigInt, name -> Text, } }
diesel::table! { sales (id) { id -> Uuid, shop -> Text, cents -> BigInt, } }

/// A shop, as far as a sale needs it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = shops)]
pub struct Shop {
    name: String,
}

lookups! {
    /// The shops that a batch names.
    pub struct Known, keys Wanted {
        /// By their id.
        pub shops: i64 => Shop in shops::id,
    }
}

row! {
    /// A sale in its shop.
    pub struct Sale<'a> in sales, key (id) {
        /// Its id: a second sale of the same id is a duplicate.
        pub id: Uuid,
        /// The shop's name.
        pub shop: &'a str,
        /// What was paid.
        pub cents: i64,
    }
}

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct Sold {
    id: Uuid,
    shop_id: i64,
    cents: i64,
}

/// The pipeline.
#[derive(Debug)]
pub struct Sales;

impl Pipeline for Sales {
    const NAME: &'static str = "sales";
    type Event<'a> = Sold;
    type Context = Known;
    type Rows = (Sale<'static>,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Sold, Unparsed> {
        record.decode()
    }

    fn keys(&self, sold: &Sold, wanted: &mut Wanted) {
        wanted.shops.want(sold.shop_id);
    }

    async fn work(
        &self,
        sold: &Sold,
        known: &Known,
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        let shop = known.shops.get(&sold.shop_id);
        let shop = shop.ok_or_else(|| Reject::new("unknown shop", sold.shop_id.to_string()))?;
        Ok(out.save(&Sale { id: sold.id, shop: &shop.name, cents: sold.cents }))
    }
}

impl PostgresPipeline for Sales {
    const MIGRATIONS: MigrationSet = MigrationSet::new(
        "sales",
        diesel_migrations::embed_migrations!("examples/sales_migrations"),
    );
}

fn main() -> ExitCode {
    longshore::main(pipelines![Sales])
}
