use async_context_manager::prelude::*;
use std::io;

// The struct is there all the same.
#[async_context(struct = Connection)]
async fn connect(number: u32) -> io::Result<u32> {
    drop(number);
    Ok(())
}

struct Client {
    connection: Guard<Connection>,
}

async fn client() -> io::Result<Client> {
    Ok(Client {
        connection: connect(1).guard().await?,
    })
}

fn main() {
    let _ = async { *client().await.unwrap().connection };
}
