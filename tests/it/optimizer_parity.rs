//! The optimiser on `OTHINK_TEST_DEVICE` against the CPU, to the bit: weights of each kind, its state beside them and in the
//! host's memory.
//! Not here: the CPU's numbers against torch's (`optim::adamw`, `training_parity`).

use candle_core::{DType, Device, Tensor};
use othink::optim::adamw::{AdamW, AdamWSettings, Update, Weights};
use othink::optim::memory::Memory;
use othink::rng::{Purpose, Stream};

use crate::golden::device;

/// What a parameter is moved through.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Copied,
    Rounded,
}

/// Where the optimiser's state is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Beside,
    Host,
}

/// Elements of the parameters, one after the other: of more than one block of a kernel, with ends within a group of numbers,
/// and the last two behind a place where four numbers are one access to memory.
const LENGTHS: [usize; 5] = [40_004, 24, 13, 40_001, 9];
const STEPS: u32 = 3;

fn wave(n: usize, frequency: f64) -> Vec<f32> {
    (0..n).map(|i| ((i as f64 + 0.5) * frequency).sin() as f32).collect()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers = tensor.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

/// The bits of all weights, copies and moments after some steps.
fn after_steps(kind: Kind, place: Place, device: &Device) -> Vec<Vec<u32>> {
    let dtype = if kind == Kind::Plain { DType::F32 } else { DType::BF16 };
    let total: usize = LENGTHS.iter().sum();
    // Parts of one arena, as a model's gradients are.
    let grads = Tensor::new(wave(total, 0.7), device).unwrap();
    let starts = LENGTHS.iter().scan(0, |next, n| Some(std::mem::replace(next, *next + n)));
    let grads: Vec<Tensor> =
        starts.zip(LENGTHS).map(|(start, n)| grads.narrow(0, start, n).unwrap()).collect();
    let values =
        LENGTHS.map(|n| Tensor::new(wave(n, 0.3), device).unwrap().to_dtype(dtype).unwrap());
    let shapes = values.iter().flat_map(|value| std::iter::repeat_n(value.shape(), 3));
    let mut memory = match place {
        Place::Beside => Memory::beside_weights(),
        Place::Host => Memory::on_host(device, shapes).unwrap(),
    };
    let mut held = |value: &Tensor| memory.hold(value.to_dtype(DType::F32).unwrap()).unwrap();
    let masters: Vec<Tensor> = match kind {
        Kind::Copied => values.iter().map(&mut held).collect(),
        Kind::Plain | Kind::Rounded => values.to_vec(),
    };
    let names = ["a", "b", "c", "d", "e"];
    let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
    let moved = names.into_iter().zip(&masters);
    let mut optimizer = AdamW::new(settings, moved, memory).unwrap();
    for step in 0..STEPS {
        let update = |i: usize| {
            let (value, master) = (&values[i], &masters[i]);
            let weights = match kind {
                Kind::Plain => Weights::Plain(master),
                Kind::Copied => Weights::Copied { master, copy: value },
                Kind::Rounded => {
                    let stream = Stream::new(5, Purpose::Rounding, step, i as u32, 0);
                    Weights::Rounded { weights: value, stream }
                }
            };
            Update { name: names[i], weights, grad: &grads[i], decay: i.is_multiple_of(2) }
        };
        // The second parameter has no gradient in the first step, and is a step behind from there on.
        let reached = (0..LENGTHS.len()).filter(|i| step > 0 || *i != 1);
        optimizer.step(1e-2, 0.7, &reached.map(update).collect::<Vec<_>>()).unwrap();
    }
    let state = optimizer.state().unwrap().into_iter();
    let moments = state.filter(|(name, _)| !name.starts_with("step")).map(|(_, tensor)| tensor);
    values.iter().chain(&masters).cloned().chain(moments).map(|tensor| bits(&tensor)).collect()
}

#[test]
fn steps_on_a_device_are_the_cpus_to_the_bit() {
    for kind in [Kind::Plain, Kind::Copied, Kind::Rounded] {
        let on_cpu = after_steps(kind, Place::Beside, &Device::Cpu);
        for place in [Place::Beside, Place::Host] {
            let found = after_steps(kind, place, &device());
            assert!(found == on_cpu, "{kind:?}, {place:?}");
        }
    }
}

#[test]
fn weights_that_are_their_own_masters_are_moved_otherwise_than_copies_of_masters() {
    let copied = after_steps(Kind::Copied, Place::Beside, &device());
    let rounded = after_steps(Kind::Rounded, Place::Beside, &device());
    assert_ne!(copied[3], rounded[3]);
}

#[test]
fn the_hosts_memory_has_room_for_what_was_counted() {
    let device = device();
    if device.is_cpu() {
        return;
    }
    let value = Tensor::new(wave(5, 0.3), &device).unwrap();
    let mut memory = Memory::on_host(&device, [value.shape()]).unwrap();
    let held = memory.hold(value.clone()).unwrap();
    assert!(held.device().is_cpu());
    assert_eq!(bits(&held), bits(&value));
    assert!(memory.hold(value).unwrap_err().to_string().contains("has no room"));
}
