//! A client of PostgreSQL: tokio-postgres, which takes any stream, over our connection.
//!
//! Try it: `18_postgres --user postgres 198.18.0.1:5432`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Parser;
use dpdk_net::net::TcpStream;
use dpdk_net_examples::Device;
use futures_util::{SinkExt, TryStreamExt, future};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    #[arg(long, default_value = "postgres")]
    user: String,
    #[arg(long, default_value = "postgres")]
    database: String,
    #[arg(long, env = "PGPASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Rows that are written and read
    #[arg(long, default_value_t = 10_000)]
    rows: i32,
    /// The server
    server: SocketAddr,
}

/// How long the server may take to let us in.
const LOGIN: Duration = Duration::from_secs(20);

async fn connect(options: &Options) -> anyhow::Result<Client> {
    let mut config = Config::new();
    config.user(&options.user).dbname(&options.database);
    if let Some(password) = &options.password {
        config.password(password);
    }
    let login = async {
        let stream = TcpStream::connect(options.server).await?;
        stream.set_nodelay(true)?;
        anyhow::Ok(config.connect_raw(stream, NoTls).await?)
    };
    let (client, connection) = timeout(LOGIN, login)
        .await
        .context("the server did not let us in in time")?
        .with_context(|| format!("cannot connect to {}", options.server))?;
    // What the client asks is carried out by the connection, a task of this worker.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection ended: {error}");
        }
    });
    Ok(client)
}

/// Writes rows by COPY, reads them back as they come, and changes them in transactions.
async fn work(client: &mut Client, rows: i32) -> anyhow::Result<()> {
    client
        .batch_execute("CREATE TEMPORARY TABLE items (id integer PRIMARY KEY, name text NOT NULL)")
        .await?;
    let mut sink = pin!(client.copy_in("COPY items FROM STDIN").await?);
    for id in 0..rows {
        sink.feed(Bytes::from(format!("{id}\titem {id}\n"))).await?;
    }
    let copied = sink.finish().await?;
    println!("copied {copied}");

    let select = client
        .prepare("SELECT id, name FROM items WHERE id >= $1 ORDER BY id")
        .await?;
    let mut stream = pin!(client.query_raw(&select, [0_i32]).await?);
    let mut next = 0;
    while let Some(row) = stream.try_next().await? {
        let (id, name): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(
            id == next && name == format!("item {id}"),
            "row {next} came as {id}, {name:?}"
        );
        next += 1;
    }
    println!("read {next}");

    // Pipelined: all are on their way before the first answer is there.
    let one = client
        .prepare("SELECT name FROM items WHERE id = $1")
        .await?;
    let ids: Vec<i32> = (0..rows.min(1_000)).collect();
    let asked = ids
        .iter()
        .map(|id| async { client.query_one(&one, &[id]).await });
    for (id, answer) in ids.iter().zip(future::try_join_all(asked).await?) {
        let name: &str = answer.try_get(0)?;
        ensure!(name == format!("item {id}"), "row {id} came as {name:?}");
    }
    println!("asked at once {}", ids.len());

    let transaction = client.transaction().await?;
    let changed = transaction
        .execute("UPDATE items SET name = upper(name)", &[])
        .await?;
    transaction.rollback().await?;
    let row = client
        .query_one("SELECT count(*) FROM items WHERE name LIKE 'item %'", &[])
        .await?;
    let kept: i64 = row.try_get(0)?;
    println!("changed {changed}, taken back {kept}");

    let large = client.query_one("SELECT repeat('x', 5000000)", &[]).await?;
    println!("a value of {} bytes", large.try_get::<_, &str>(0)?.len());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("postgres").run(|_ctx| async move {
        let mut client = connect(&options).await?;
        let version = client.query_one("SHOW server_version", &[]).await?;
        println!("PostgreSQL {}", version.try_get::<_, &str>(0)?);
        work(&mut client, options.rows).await
    })?
}
