use std::{
    error::Error,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    task::Poll,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Two ends of one connection inside TLS: the server's and the client's.
async fn tls_pair() -> Result<(Channel, Channel), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::open(dir.path())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        authority.certificate_pem().as_bytes(),
    )?)?;
    let connector = UpstreamTls::verified(roots)?;
    let listener = TcpListener::bind((LOOPBACK, 0)).await?;
    let (dialled, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr()?),
        listener.accept()
    );
    let (server, client) = tokio::join!(
        authority.accept(accepted?.0.into(), "localhost", LOOPBACK, false),
        connector.connect(dialled?.into(), "localhost"),
    );
    Ok((Channel::new(server?.stream), Channel::new(client?)))
}

/// A socket that is full takes no more of what TLS has already encrypted: `tx` is empty then, and
/// the peer still waits.
#[tokio::test]
async fn what_tls_holds_back_is_sent_once_the_peer_reads() -> Result<(), Box<dyn Error>> {
    let (mut server, mut client) = tls_pair().await?;
    let mut sent = 0_usize;
    loop {
        server.tx.extend_from_slice(&[b'x'; 4096]);
        sent += 4096;
        let blocked = poll_fn(|cx| Poll::Ready(server.poll_drain(cx).is_pending())).await;
        if blocked {
            break;
        }
    }
    assert!(server.tx.is_empty(), "nothing is inside TLS: {sent} bytes");
    assert!(server.wants_drain(), "what TLS holds is forgotten");

    let mut received = 0;
    // As a connection does: what wants to be drained is polled beside what is read.
    poll_fn(|cx| {
        if server.wants_drain()
            && let Poll::Ready(outcome) = server.poll_drain(cx)
        {
            outcome?;
        }
        while received < sent {
            match client.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(read)) => received += read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            client.rx.clear();
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    assert_eq!(received, sent);
    Ok(())
}
