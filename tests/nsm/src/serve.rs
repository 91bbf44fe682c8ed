//! The module behind a byte stream: the same requests and responses, in frames.

use std::io::{self, Read, Write};

use aws_nitro_enclaves_nsm_api::api::Request;

use crate::{ServeError, SimulatedNsm};

/// The longest request that is accepted, in bytes of CBOR.
pub const MAX_REQUEST_BYTES: usize = 16 * 1_024;

/// The longest response that is sent, in bytes of CBOR.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1_024;

impl SimulatedNsm {
    /// Answers requests until the peer closes the stream between two of them.
    ///
    /// A frame is its length as 4 bytes, big endian, and then that many bytes of CBOR: a
    /// [`Request`] one way, a [`Response`](aws_nitro_enclaves_nsm_api::api::Response) the other.
    /// `now_ms` is asked once per request, for milliseconds since the Unix epoch.
    pub fn serve_connection(
        &self,
        mut stream: impl Read + Write,
        now_ms: impl Fn() -> u64,
    ) -> Result<(), ServeError> {
        while let Some(request) = read_request(&mut stream)? {
            let response = self.handle(request, now_ms());
            let mut body = Vec::new();
            ciborium::into_writer(&response, &mut body)
                .map_err(|cause| ServeError::Response { reason: cause.to_string() })?;
            write_frame(&mut stream, &body)?;
        }
        Ok(())
    }
}

fn read_request(stream: &mut impl Read) -> Result<Option<Request>, ServeError> {
    let Some(length) = read_length(stream)? else {
        return Ok(None);
    };
    if length > MAX_REQUEST_BYTES {
        return Err(ServeError::RequestTooLong { limit: MAX_REQUEST_BYTES, found: length });
    }
    let mut body = vec![0; length];
    stream
        .read_exact(&mut body)
        .map_err(|cause| ServeError::Stream { action: "read a request", cause })?;
    ciborium::from_reader(body.as_slice())
        .map(Some)
        .map_err(|cause| ServeError::Request { reason: cause.to_string() })
}

/// The next frame's length, or `None` when the stream ends before its first byte.
fn read_length(stream: &mut impl Read) -> Result<Option<usize>, ServeError> {
    let failed = |cause| ServeError::Stream { action: "read a request's length", cause };
    let mut first = [0; 1];
    loop {
        match stream.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(failed(cause)),
        }
    }
    let mut rest = [0; 3];
    stream.read_exact(&mut rest).map_err(failed)?;
    let [a] = first;
    let [b, c, d] = rest;
    Ok(Some(usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX)))
}

fn write_frame(stream: &mut impl Write, body: &[u8]) -> Result<(), ServeError> {
    let too_long = ServeError::ResponseTooLong { limit: MAX_RESPONSE_BYTES, found: body.len() };
    let length = match u32::try_from(body.len()) {
        Ok(length) if body.len() <= MAX_RESPONSE_BYTES => length,
        _ => return Err(too_long),
    };
    let frame = [length.to_be_bytes().as_slice(), body].concat();
    stream
        .write_all(&frame)
        .and_then(|()| stream.flush())
        .map_err(|cause| ServeError::Stream { action: "write a response", cause })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use aws_nitro_enclaves_nsm_api::api::{Digest, ErrorCode, Response};
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::{Authority, Enclave, Mode};

    const NOW_MS: u64 = 1_760_000_000_000;
    const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";

    /// A stream that has everything to be read in front and keeps what is written.
    struct Duplex {
        input: Cursor<Vec<u8>>,
        output: Vec<u8>,
    }

    impl Read for Duplex {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.read(buffer)
        }
    }

    impl Write for Duplex {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn module() -> SimulatedNsm {
        let parent = Authority::generate()
            .unwrap()
            .instance("i-0123456789abcdef0", "arn:aws:iam::123456789012:role/parent", NOW_MS)
            .unwrap();
        let measurements = [(0, [0xA0; 48])].into();
        let enclave =
            Enclave { module_id: MODULE.to_owned(), measurements, mode: Mode::Production };
        SimulatedNsm::new(parent, enclave)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    fn request(request: &Request) -> Vec<u8> {
        let mut body = Vec::new();
        ciborium::into_writer(request, &mut body).unwrap();
        frame(&body)
    }

    /// Serves `input` and decodes every response.
    fn serve(input: Vec<u8>) -> (Vec<Response>, Result<(), ServeError>) {
        let mut stream = Duplex { input: Cursor::new(input), output: Vec::new() };
        let result = module().serve_connection(&mut stream, || NOW_MS);
        let mut rest = stream.output.as_slice();
        let mut responses = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
            responses.push(ciborium::from_reader(&tail[..length]).unwrap());
            rest = &tail[length..];
        }
        (responses, result)
    }

    fn attestation(nonce: Vec<u8>) -> Request {
        Request::Attestation {
            user_data: None,
            nonce: Some(ByteBuf::from(nonce)),
            public_key: None,
        }
    }

    #[test]
    fn several_requests_on_one_connection_are_answered_in_order() {
        let input = [
            request(&Request::DescribeNSM),
            request(&attestation(b"the nonce".to_vec())),
            request(&Request::GetRandom),
        ];
        let (responses, result) = serve(input.concat());
        result.unwrap();
        assert_eq!(responses.len(), 3);
        let Response::DescribeNSM { module_id, max_pcrs, locked_pcrs, digest, .. } = &responses[0]
        else {
            panic!("{:?}", responses[0])
        };
        assert_eq!((module_id.as_str(), *max_pcrs, *digest), (MODULE, 32, Digest::SHA384));
        assert_eq!(locked_pcrs.iter().copied().collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
        let Response::Attestation { document } = &responses[1] else {
            panic!("{:?}", responses[1])
        };
        // Untagged, {1: -35}, nothing unprotected, a payload whose map is of indefinite length.
        assert_eq!(document[..8], [0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, 0xA0, 0x59]);
        assert_eq!(document[10], 0xBF);
        let Response::GetRandom { random } = &responses[2] else { panic!("{:?}", responses[2]) };
        assert_eq!(random.len(), 256);
    }

    #[test]
    fn locked_registers_are_described_with_their_values_and_others_as_zero() {
        let describe = |index| request(&Request::DescribePCR { index });
        let (responses, result) = serve([describe(0), describe(16), describe(32)].concat());
        result.unwrap();
        assert!(matches!(&responses[0], Response::DescribePCR { lock: true, data }
            if *data == [0xA0; 48]));
        assert!(matches!(&responses[1], Response::DescribePCR { lock: false, data }
            if *data == [0; 48]));
        assert!(matches!(responses[2], Response::Error(ErrorCode::InvalidIndex)));
    }

    #[test]
    fn an_enclaves_own_registers_are_extended_until_they_are_locked() {
        let extend = |index| request(&Request::ExtendPCR { index, data: vec![1] });
        let lock = |index| request(&Request::LockPCR { index });
        let describe = |index| request(&Request::DescribePCR { index });
        let input = [
            extend(16),
            lock(16),
            extend(16),
            lock(16),
            describe(16),
            extend(15),
            lock(0),
            extend(32),
            request(&Request::LockPCRs { range: 18 }),
            extend(17),
            extend(18),
            request(&Request::LockPCRs { range: 33 }),
            request(&Request::DescribeNSM),
        ];
        let (responses, result) = serve(input.concat());
        result.unwrap();
        let value = crate::extended_from_zero(&[1]).to_vec();
        let shown: Vec<String> = responses
            .iter()
            .map(|response| match response {
                Response::ExtendPCR { data } => format!("extended {}", *data == value),
                Response::DescribePCR { lock, data } => format!("{lock} {}", *data == value),
                Response::DescribeNSM { locked_pcrs, .. } => {
                    format!("locked {}", locked_pcrs.len())
                }
                Response::Error(code) => format!("{code:?}"),
                other => format!("{other:?}"),
            })
            .collect();
        let expected = [
            "extended true",
            "LockPCR",
            "ReadOnlyIndex",
            "ReadOnlyIndex",
            "true true",
            "ReadOnlyIndex",
            "ReadOnlyIndex",
            "InvalidIndex",
            "LockPCRs",
            "ReadOnlyIndex",
            "extended true",
            "InvalidIndex",
            "locked 18",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_field_longer_than_the_real_module_signs_is_refused() {
        let input = [request(&attestation(vec![7; 1_024])), request(&attestation(vec![7; 1_025]))];
        let (responses, result) = serve(input.concat());
        result.unwrap();
        assert!(matches!(responses[0], Response::Attestation { .. }));
        assert!(matches!(responses[1], Response::Error(ErrorCode::InputTooLarge)));
    }

    #[test]
    fn a_frame_longer_than_the_limit_ends_the_connection_before_it_is_read() {
        let (responses, result) = serve(u32::MAX.to_be_bytes().to_vec());
        assert!(responses.is_empty());
        let Err(ServeError::RequestTooLong { limit, found }) = result else { panic!("{result:?}") };
        assert_eq!((limit, found), (16_384, 4_294_967_295));
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        let (responses, result) = serve(frame(b"\xF6"));
        assert!(responses.is_empty());
        assert!(matches!(result, Err(ServeError::Request { .. })), "{result:?}");
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_error_and_an_end_between_frames_is_not() {
        let whole = request(&Request::GetRandom);
        for length in 1..whole.len() {
            let (_, result) = serve(whole[..length].to_vec());
            assert!(matches!(result, Err(ServeError::Stream { .. })), "{length}: {result:?}");
        }
        assert!(serve(Vec::new()).1.is_ok());
    }
}
