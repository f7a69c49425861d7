//! A relay in front of a server.

use std::error::Error;
use std::net::Ipv4Addr;

use sqlx::any::AnyConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// The same database, through a relay in the runtime of the test. So no answer is available at
/// once, and each question is an await that is pending, even on a fast server.
pub(crate) async fn relayed(url: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut options: AnyConnectOptions = url.parse()?;
    let host = options.database_url.host_str().unwrap_or("127.0.0.1");
    let usual_port = if url.starts_with("postgres") {
        5432
    } else {
        3306
    };
    let server = (
        host.to_owned(),
        options.database_url.port().unwrap_or(usual_port),
    );

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    // The relay ends with the runtime.
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await?;
                server.set_nodelay(true)?;
                client.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let relay = &mut options.database_url;
    relay
        .set_ip_host(address.ip())
        .map_err(|()| "it has a host")?;
    relay
        .set_port(Some(address.port()))
        .map_err(|()| "it has a port")?;
    Ok(relay.to_string())
}
