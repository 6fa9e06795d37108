//! One safetensors file, opened for reading: its header checked, its tensors read one at a time.
//! Not here: which tensors a model must have (`weights`); writing (`save`).
//!
//! Tensors are read in pieces of a few megabytes and converted as they arrive, rather than mapped
//! into memory: peak memory is then the converted model itself and not the file on top of it, and a
//! file that shrinks while it is read is an error rather than a crash.

use std::io::SeekFrom;
use std::time::SystemTime;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::ModelError;
use super::files::{ModelFiles, ReadSeek};

/// The header's own length comes first, as a little-endian u64.
const LENGTH_BYTES: usize = 8;
/// The format's own bound on the header (safetensors 0.8, `MAX_HEADER_SIZE`).
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes read at a time: enough work for all threads, little compared with any model.
const PIECE_BYTES: usize = 8 << 20;
/// Numbers converted by one thread in one go.
const BLOCK: usize = 1 << 15;

/// A tensor as the header describes it.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    /// The name as the file spells it.
    pub(crate) name: String,
    /// The number type on disk.
    pub(crate) dtype: Dtype,
    /// The shape.
    pub(crate) shape: Vec<usize>,
    /// Position of the first number, in bytes from the start of the file.
    offset: u64,
    /// Size of all its numbers.
    bytes: u64,
}

/// An opened safetensors file.
pub(crate) struct Shard {
    /// Its name for error messages.
    pub(crate) file: String,
    /// Its tensors, in the order of the file.
    pub(crate) tensors: Vec<StoredTensor>,
    reader: Box<dyn ReadSeek>,
    /// When it was written last, as its header was read.
    modified: Option<SystemTime>,
}

impl Shard {
    /// Opens the file and checks that its header and its length agree; `None` where it is absent.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn open(files: &ModelFiles, name: &str) -> Result<Option<Self>, ModelError> {
        let file = files.describe(name);
        let unreadable = |source| ModelError::Read { file: file.clone(), source };
        let Some(mut opened) = files.open(name).map_err(unreadable)? else { return Ok(None) };
        let damaged =
            |found| ModelError::Damaged { file: file.clone(), bytes: opened.bytes, found };

        let header_bytes = header_length(opened.reader.as_mut(), opened.bytes)
            .map_err(unreadable)?
            .map_err(damaged)?;
        let mut header = vec![0; header_bytes];
        opened.reader.read_exact(&mut header).map_err(unreadable)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| damaged(format!("its header does not parse: {error}")))?;

        let data_start = (LENGTH_BYTES + header_bytes) as u64;
        let (promised, present) = (metadata.data_len() as u64, opened.bytes - data_start);
        if promised != present {
            return Err(damaged(format!(
                "its header promises {promised} bytes of numbers and {present} follow"
            )));
        }
        let tensors = stored_tensors(&metadata, data_start);
        let modified = opened.reader.modified().map_err(unreadable)?;
        Ok(Some(Self { file, tensors, reader: opened.reader, modified }))
    }

    /// Checks that the file was not written to since it was opened. One that was deleted or replaced stays as it was.
    ///
    /// # Errors
    /// It was written to, or the system cannot say.
    pub(crate) fn require_unchanged(&self) -> Result<(), ModelError> {
        let file = || self.file.clone();
        let unreadable = |source| ModelError::Read { file: file(), source };
        let modified = self.reader.modified().map_err(unreadable)?;
        if modified == self.modified { Ok(()) } else { Err(ModelError::Changed { file: file() }) }
    }

    /// The tensor's numbers, each by way of f32; a round trip through f32 changes no bf16 or f16.
    ///
    /// # Errors
    /// The file cannot be read, or holds numbers that are not weights.
    pub(crate) fn read<D: Copy + Default + Send>(
        &mut self,
        tensor_idx: usize,
        from_f32: impl Fn(f32) -> D + Sync,
    ) -> Result<Vec<D>, ModelError> {
        let mut values = vec![D::default(); self.tensors[tensor_idx].shape.iter().product()];
        self.read_into(tensor_idx, &mut values, from_f32)?;
        Ok(values)
    }

    /// The same, into `values`, of which there are as many as the tensor has numbers.
    ///
    /// # Errors
    /// The file cannot be read, or holds numbers that are not weights.
    pub(crate) fn read_into<D: Send>(
        &mut self,
        tensor_idx: usize,
        values: &mut [D],
        from_f32: impl Fn(f32) -> D + Sync,
    ) -> Result<(), ModelError> {
        let tensor = &self.tensors[tensor_idx];
        let reader = self.reader.as_mut();
        let outcome =
            reader.seek(SeekFrom::Start(tensor.offset)).and_then(|_| match tensor.dtype {
                Dtype::F32 => {
                    read_numbers(reader, values, |raw| from_f32(f32::from_le_bytes(raw))).map(Some)
                }
                Dtype::BF16 => {
                    read_numbers(reader, values, |raw| from_f32(bf16::from_le_bytes(raw).to_f32()))
                        .map(Some)
                }
                Dtype::F16 => {
                    read_numbers(reader, values, |raw| from_f32(f16::from_le_bytes(raw).to_f32()))
                        .map(Some)
                }
                _ => Ok(None),
            });
        match outcome {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(self.not_a_weight(tensor_idx)),
            Err(source) => Err(ModelError::Read { file: self.file.clone(), source }),
        }
    }

    /// The error that the tensor's numbers are of a type that no weight has.
    pub(crate) fn not_a_weight(&self, tensor_idx: usize) -> ModelError {
        let tensor = &self.tensors[tensor_idx];
        ModelError::Dtype {
            file: self.file.clone(),
            tensor: tensor.name.clone(),
            found: format!("{:?}", tensor.dtype),
        }
    }

    /// A piece of the tensor's bytes, from `start` on; empty at its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read_piece(
        &mut self,
        tensor_idx: usize,
        start: u64,
    ) -> Result<Vec<u8>, ModelError> {
        let tensor = &self.tensors[tensor_idx];
        let left = usize::try_from(tensor.bytes.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(PIECE_BYTES)];
        self.reader
            .seek(SeekFrom::Start(tensor.offset + start))
            .and_then(|_| self.reader.read_exact(&mut piece))
            .map_err(|source| ModelError::Read { file: self.file.clone(), source })?;
        Ok(piece)
    }
}

/// The header's length, or the reason why the file cannot have a header of that length.
fn header_length(
    reader: &mut dyn ReadSeek,
    file_bytes: u64,
) -> std::io::Result<Result<usize, String>> {
    if file_bytes < LENGTH_BYTES as u64 {
        return Ok(Err("it is too short for a header".to_owned()));
    }
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > file_bytes - LENGTH_BYTES as u64 {
        return Ok(Err(format!("it promises a header of {length} bytes")));
    }
    Ok(usize::try_from(length).map_err(|_| format!("it promises a header of {length} bytes")))
}

fn stored_tensors(metadata: &Metadata, data_start: u64) -> Vec<StoredTensor> {
    let names = metadata.offset_keys();
    let described = names.into_iter().filter_map(|name| {
        let info = metadata.info(&name)?;
        let (start, end) = info.data_offsets;
        Some(StoredTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            offset: data_start + start as u64,
            bytes: (end - start) as u64,
            name,
        })
    });
    described.collect()
}

/// Reads numbers of `WIDTH` bytes each, decoding them on all threads.
fn read_numbers<const WIDTH: usize, D: Send>(
    reader: &mut dyn ReadSeek,
    values: &mut [D],
    decode: impl Fn([u8; WIDTH]) -> D + Sync,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES.min(values.len() * WIDTH)];
    for piece in values.chunks_mut(PIECE_BYTES / WIDTH) {
        let raw = &mut buffer[..piece.len() * WIDTH];
        reader.read_exact(raw)?;
        let (numbers, _) = raw.as_chunks::<WIDTH>();
        piece.par_chunks_mut(BLOCK).zip(numbers.par_chunks(BLOCK)).for_each(|(into, from)| {
            for (value, number) in into.iter_mut().zip(from) {
                *value = decode(*number);
            }
        });
    }
    Ok(())
}
