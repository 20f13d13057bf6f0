//! Reader of CTranslate2's binary model file (`model.bin`), little-endian:
//!
//! ```text
//! u32 version · text spec · u32 revision · u32 count · count × variable [· aliases, not needed]
//! variable = text name · u8 rank · rank × u32 dimension · u8 type · u32 bytes · data
//! text     = u16 length (with the final NUL) · bytes
//! ```
//!
//! Nothing in the file is believed before it is checked against the file's own length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

/// Newest file version that has this layout.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=6;
const MOST_VARIABLES: u32 = 10_000;
const HIGHEST_RANK: u8 = 4;

/// The variables of a file, by name, as 32-bit floats; scalars and integers are left out.
pub(super) struct Weights(HashMap<String, Tensor>);

impl Weights {
    /// Reads `path`; the error is a phrase for the operator.
    pub(super) fn read(path: &Path) -> Result<Weights, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(|error| format!("{name} cannot be opened ({error})"))?;
        let length = file.metadata().map_err(|error| format!("{name} cannot be read ({error})"))?.len();
        Reader { from: BufReader::with_capacity(1 << 20, file), left: length }
            .weights()
            .map_err(|problem| format!("{name} {problem}"))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, String> {
        self.0.get(name).ok_or_else(|| format!("model.bin is not a Whisper model: it has no `{name}`"))
    }

    /// How many layers `side` (`encoder` or `decoder`) has.
    pub(super) fn layers(&self, side: &str) -> usize {
        (0..).take_while(|n| self.0.contains_key(&format!("{side}/layer_{n}/ffn/linear_0/weight"))).count()
    }
}

/// A file that is read front to back, with the bytes that are left of it.
struct Reader<R> {
    from: R,
    left: u64,
}

impl<R: Read> Reader<R> {
    fn weights(mut self) -> Result<Weights, String> {
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            return Err(String::from("is not a CTranslate2 model (or one of an unknown version)"));
        }
        let spec = self.text()?;
        if spec != "WhisperSpec" {
            return Err(String::from("is a CTranslate2 model, but not a Whisper one"));
        }
        let _revision = self.u32()?;
        let count = self.u32()?;
        if count > MOST_VARIABLES {
            return Err(String::from("is damaged (too many variables)"));
        }
        let mut weights = HashMap::new();
        for _ in 0..count {
            if let Some((name, tensor)) = self.variable()? {
                weights.insert(name, tensor);
            }
        }
        Ok(Weights(weights))
    }

    fn variable(&mut self) -> Result<Option<(String, Tensor)>, String> {
        let name = self.text()?;
        let rank = self.u8()?;
        if rank > HIGHEST_RANK {
            return Err(format!("is damaged (`{name}` has {rank} dimensions)"));
        }
        let shape = (0..rank).map(|_| self.u32().map(|size| size as usize)).collect::<Result<Vec<_>, _>>()?;
        let kind = self.u8()?;
        let bytes = self.u32()?;
        let (width, kind) = match kind {
            0 => (4, Some(DType::F32)),
            1 => (1, None),
            2 => (2, None),
            3 => (4, None),
            4 => (2, Some(DType::F16)),
            5 => (2, Some(DType::BF16)),
            other => return Err(format!("is damaged (`{name}` has the unknown type {other})")),
        };
        let expected = shape.iter().try_fold(width as u64, |size, dimension| size.checked_mul(*dimension as u64));
        if expected != Some(u64::from(bytes)) {
            return Err(format!("is damaged (the size of `{name}` is wrong)"));
        }
        let data = self.bytes(u64::from(bytes))?;
        match kind {
            Some(kind) if rank > 0 => Ok(Some((name.clone(), floats(&name, &data, kind, &shape)?))),
            None if rank > 1 => Err(format!("is quantized (`{name}` holds integers); use a float16 or float32 model")),
            _ => Ok(None),
        }
    }

    /// The next `count` bytes; a count beyond the end of the file is refused before memory is taken.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, String> {
        self.left = self.left.checked_sub(count).ok_or("is cut off: it ends too early")?;
        let mut data = vec![0; usize::try_from(count).map_err(|error| error.to_string())?];
        self.from.read_exact(&mut data).map_err(|error| format!("cannot be read ({error})"))?;
        Ok(data)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes(N as u64)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = u16::from_le_bytes(self.array()?);
        let mut bytes = self.bytes(u64::from(length))?;
        if bytes.pop() != Some(0) {
            return Err(String::from("is damaged (a name has no end)"));
        }
        String::from_utf8(bytes).map_err(|_| String::from("is damaged (a name is not text)"))
    }
}

fn floats(name: &str, data: &[u8], kind: DType, shape: &[usize]) -> Result<Tensor, String> {
    let tensor = Tensor::from_raw_buffer(data, kind, shape, &Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32))
        .map_err(|error| format!("is damaged (`{name}`: {error})"))?;
    // One sum over everything finds any NaN or infinity.
    let sum = tensor.sum_all().and_then(|sum| sum.to_scalar::<f32>()).map_err(|error| error.to_string())?;
    if sum.is_finite() { Ok(tensor) } else { Err(format!("is damaged (`{name}` holds numbers that are none)")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u16 + 1).to_le_bytes());
        out.extend(text.as_bytes());
        out.push(0);
    }

    /// A model file with one 2 × 2 variable of `kind` and `data`.
    fn file(spec: &str, kind: u8, data: &[u8]) -> Vec<u8> {
        let mut out = 6u32.to_le_bytes().to_vec();
        text(&mut out, spec);
        out.extend(3u32.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        text(&mut out, "w");
        out.push(2);
        out.extend(2u32.to_le_bytes());
        out.extend(2u32.to_le_bytes());
        out.push(kind);
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(data);
        out
    }

    fn read(bytes: &[u8]) -> Result<Weights, String> {
        Reader { from: bytes, left: bytes.len() as u64 }.weights()
    }

    #[test]
    fn reads_half_floats() {
        let ones = [0x00, 0x3c].repeat(4);
        let weights = read(&file("WhisperSpec", 4, &ones)).unwrap_or_else(|error| panic!("{error}"));
        let tensor = weights.tensor("w").expect("present");
        assert_eq!(tensor.to_vec2::<f32>().expect("2 x 2"), [[1.0, 1.0], [1.0, 1.0]]);
        assert!(weights.tensor("v").expect_err("absent").contains("no `v`"));
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let problem = |bytes: &[u8]| read(bytes).err().expect("refused");
        assert!(problem(b"PK\x03\x04zip file").contains("not a CTranslate2 model"));
        assert!(problem(&file("TransformerSpec", 4, &[0; 8])).contains("not a Whisper"));
        assert!(problem(&file("WhisperSpec", 4, &[0; 6])).contains("size of `w` is wrong"));
        assert!(problem(&file("WhisperSpec", 1, &[0; 4])).contains("quantized"));
        assert!(problem(&file("WhisperSpec", 9, &[0; 4])).contains("unknown type"));
        assert!(problem(&file("WhisperSpec", 4, &[0xff; 8])).contains("numbers that are none"));
        let whole = file("WhisperSpec", 4, &[0; 8]);
        for cut in 0..whole.len() {
            assert!(problem(&whole[..cut]).contains("cut off"), "at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut forged = file("WhisperSpec", 4, &[0; 8]);
            for (at, byte) in bytes.drain(..).enumerate().filter(|(_, byte)| *byte > 200) {
                let at = at % forged.len();
                forged[at] = byte;
            }
            let _ = read(&forged);
        }
    }
}
