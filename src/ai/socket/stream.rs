//! A way to a service: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SocketError;
use super::url::Url;

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to the first address of the service that answers.
    pub async fn connect(url: Url, tls: Arc<rustls::ClientConfig>) -> Result<Stream, SocketError> {
        let tcp = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(SocketError::Unreachable)?;
        // A frame of speech does not wait for the next one.
        tcp.set_nodelay(true).map_err(SocketError::Unreachable)?;
        if !url.secure {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(url.host).map_err(|_| SocketError::NoName)?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await.map_err(SocketError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// What has come, as far as there is room for it; 0 = the service has closed.
    pub fn poll_read(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        let read = match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, &mut room),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(context, &mut room),
        };
        read.map_ok(|()| room.filled().len())
    }

    pub fn poll_write(&mut self, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, octets),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(context, octets),
        }
    }

    /// What was written goes out: over TLS it may wait.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(context),
        }
    }
}
