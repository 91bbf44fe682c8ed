//! Carrying bytes both ways between two streams, until both have said their end.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

/// What a direction's buffer holds at first: most connections carry little at a time.
const FIRST_BUFFER: usize = 8 * 1_024;
/// What it holds once a read filled it.
const FULL_BUFFER: usize = 64 * 1_024;

/// Why carrying ended before both sides had said their end.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// Nothing was carried for too long.
    #[error("nothing was carried for {} s", after.as_secs())]
    Idle {
        /// The limit.
        after: Duration,
    },
    /// One of the two broke off.
    #[error("one of the two sides broke off")]
    Io(#[source] io::Error),
}

/// Carries bytes from `inner` to `outer`, counted in `out`, and back, counted in `back`.
///
/// The end of one direction is passed on, and the other goes on. Each direction reads no further than
/// the other side takes, and has a buffer of 64 KiB at most.
///
/// # Errors
/// When one side breaks off, or nothing was carried for between one and two times `idle`.
pub async fn pump(
    inner: &mut (impl AsyncRead + AsyncWrite + Unpin),
    outer: &mut (impl AsyncRead + AsyncWrite + Unpin),
    (out, back): (&AtomicU64, &AtomicU64),
    idle: Duration,
) -> Result<(), PumpError> {
    let (mut forth, mut return_) = (Direction::new(), Direction::new());
    let mut timer = pin!(sleep(idle));
    let mut carried = false;
    poll_fn(|cx| {
        let there = forth.poll(cx, Pin::new(inner), Pin::new(outer), out);
        let back = return_.poll(cx, Pin::new(outer), Pin::new(inner), back);
        carried |= std::mem::take(&mut forth.carried) | std::mem::take(&mut return_.carried);
        match (there, back) {
            (Poll::Ready(Err(err)), _) | (_, Poll::Ready(Err(err))) => {
                return Poll::Ready(Err(PumpError::Io(err)));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut carried) {
                return Poll::Ready(Err(PumpError::Idle { after: idle }));
            }
            timer.as_mut().reset(Instant::now() + idle);
        }
        Poll::Pending
    })
    .await
}

/// One direction.
struct Direction {
    buffer: Box<[u8]>,
    /// What of the buffer is read and not yet written.
    from: usize,
    to: usize,
    stage: Stage,
    carried: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Carrying,
    /// The reader ended; the writer is to be told.
    Ending,
    Over,
}

impl Direction {
    fn new() -> Self {
        let buffer = vec![0; FIRST_BUFFER].into_boxed_slice();
        Self { buffer, from: 0, to: 0, stage: Stage::Carrying, carried: false }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut reader: Pin<&mut impl AsyncRead>,
        mut writer: Pin<&mut impl AsyncWrite>,
        count: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.stage {
                Stage::Carrying if self.from < self.to => {
                    let rest = self.buffer.get(self.from..self.to).unwrap_or_default();
                    let written = ready!(writer.as_mut().poll_write(cx, rest))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    self.from += written;
                    self.carried = true;
                    count.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Stage::Carrying => {
                    if self.to == self.buffer.len() && self.to < FULL_BUFFER {
                        self.buffer = vec![0; FULL_BUFFER].into_boxed_slice();
                    }
                    let mut into = ReadBuf::new(&mut self.buffer);
                    ready!(reader.as_mut().poll_read(cx, &mut into))?;
                    (self.from, self.to) = (0, into.filled().len());
                    if self.to == 0 {
                        self.stage = Stage::Ending;
                    }
                }
                Stage::Ending => {
                    let told = ready!(writer.as_mut().poll_shutdown(cx));
                    self.stage = Stage::Over;
                    self.carried = true;
                    // A writer that is gone already needs no telling.
                    match told {
                        Err(err) if err.kind() != io::ErrorKind::NotConnected => {
                            return Poll::Ready(Err(err));
                        }
                        _ => {}
                    }
                }
                Stage::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::JoinHandle,
    };

    const IDLE: Duration = Duration::from_mins(1);

    /// How it ended, and how much went there and back.
    type Pumped = (Result<(), PumpError>, u64, u64);

    fn joined(size: usize) -> (DuplexStream, DuplexStream, JoinHandle<Pumped>) {
        let ((left, mut inner), (right, mut outer)) = (duplex(size), duplex(size));
        let pumping = tokio::spawn(async move {
            let counts = (AtomicU64::new(0), AtomicU64::new(0));
            let end = pump(&mut inner, &mut outer, (&counts.0, &counts.1), IDLE).await;
            (end, counts.0.into_inner(), counts.1.into_inner())
        });
        (left, right, pumping)
    }

    #[tokio::test]
    async fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
        let (mut left, mut right, pumping) = joined(16);
        left.write_all(b"question").await.unwrap();
        left.shutdown().await.unwrap();
        let mut question = String::new();
        right.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        right.write_all(b"a longer answer than the pipe holds").await.unwrap_or(());
        right.shutdown().await.unwrap();
        let mut answer = String::new();
        left.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "a longer answer than the pipe holds");
        let (end, out, back) = pumping.await.unwrap();
        end.unwrap();
        assert_eq!((out, back), (8, 35));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_carries_nothing_ends() {
        let (mut left, mut right, pumping) = joined(16);
        let begun = Instant::now();
        for _ in 0..3 {
            sleep(IDLE / 2).await;
            left.write_all(b"x").await.unwrap();
            right.read_u8().await.unwrap();
        }
        let (end, ..) = pumping.await.unwrap();
        assert!(matches!(end, Err(PumpError::Idle { .. })), "{end:?}");
        assert!(
            begun.elapsed() >= IDLE * 5 / 2 && begun.elapsed() <= IDLE * 4,
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_does_not_read_is_given_up_and_holds_no_more_than_the_buffers() {
        let (mut left, right, pumping) = joined(16);
        let writing = tokio::spawn(async move {
            let mut written = 0;
            while let Ok(count) = left.write(&[7; 1_024]).await {
                written += count;
            }
            written
        });
        let (end, ..) = pumping.await.unwrap();
        assert!(matches!(end, Err(PumpError::Idle { .. })), "{end:?}");
        drop(right);
        assert!(writing.await.unwrap() <= FULL_BUFFER + 32);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever the sizes of pipes and writes, each side gets the other's bytes, all and in order.
        #[test]
        fn every_byte_arrives_once_and_in_order(
            size in 1_usize..5_000,
            there in prop::collection::vec(any::<u8>(), 0..40_000),
            back in prop::collection::vec(any::<u8>(), 0..40_000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (got_there, got_back) = runtime.block_on(async {
                let (left, right, pumping) = joined(size);
                let talk = |stream: DuplexStream, said: Vec<u8>| async move {
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    let say = async { writer.write_all(&said).await.unwrap(); writer.shutdown().await.unwrap() };
                    let mut heard = Vec::new();
                    let ((), read) = tokio::join!(say, reader.read_to_end(&mut heard));
                    read.unwrap();
                    heard
                };
                let heard = tokio::join!(talk(left, there.clone()), talk(right, back.clone()));
                pumping.await.unwrap().0.unwrap();
                (heard.1, heard.0)
            });
            prop_assert!(got_there == there && got_back == back);
        }
    }
}
