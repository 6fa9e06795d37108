//! An update shared by two ranks is the update of one: counts, sums and gradients go through `Ranks`.
//! Not here: the update itself (`training_parity`); a transport between processes (there is none yet).

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use candle_core::{DType, Result, Tensor};
use othink::model::parameters::Parameters;
use othink::optim::adamw::AdamWSettings;
use othink::optim::lr_schedule::{Decay, LrSchedule};
use othink::train::accumulate::{Anchors, LossSettings, ObjectiveSums, accumulate, count};
use othink::train::ranks::{Ranks, Solo};
use othink::train::step::{Optimizer, OptimizerSettings, StepReport, Stepped};

use crate::golden::{Golden, model, relative_difference};
use crate::training_parity::{Batch, OBJECTIVE, SCORING};

/// One of two threads whose values are summed.
#[derive(Clone)]
struct Pair {
    is_first: bool,
    barrier: Arc<Barrier>,
    shared: Arc<Mutex<Vec<f64>>>,
}

impl Pair {
    fn both() -> [Self; 2] {
        let (barrier, shared) = (Arc::new(Barrier::new(2)), Arc::default());
        [true, false].map(|is_first| Self {
            is_first,
            barrier: Arc::clone(&barrier),
            shared: Arc::clone(&shared),
        })
    }

    fn exchange(&self, values: &mut [f64], sends: bool) {
        {
            let mut shared = self.shared.lock().unwrap();
            shared.resize(values.len(), 0.0);
            if sends {
                shared.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += value);
            }
        }
        self.barrier.wait();
        values.copy_from_slice(&self.shared.lock().unwrap());
        if self.barrier.wait().is_leader() {
            self.shared.lock().unwrap().clear();
        }
        self.barrier.wait();
    }

    fn exchange_tensors(&self, tensors: &[Tensor], sends: bool) -> Result<()> {
        for tensor in tensors {
            let flat = tensor.flatten_all()?;
            let mut values = flat.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            self.exchange(&mut values, sends);
            let values = Tensor::new(values, tensor.device())?.to_dtype(tensor.dtype())?;
            flat.slice_set(&values, 0, 0)?;
        }
        Ok(())
    }
}

impl Ranks for Pair {
    fn sum(&self, values: &mut [f64]) -> Result<()> {
        self.exchange(values, true);
        Ok(())
    }

    fn sum_tensors(&self, tensors: &[Tensor]) -> Result<()> {
        self.exchange_tensors(tensors, true)
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<()> {
        self.exchange_tensors(tensors, self.is_first)
    }

    fn all_succeeded(&self, succeeded: bool) -> Result<bool> {
        let mut failures = [f64::from(u8::from(!succeeded))];
        self.sum(&mut failures)?;
        Ok(failures[0] < 0.5)
    }
}

/// One update over some of the recorded batch's groups, and the parameters after it.
struct Updated {
    sums: ObjectiveSums,
    report: StepReport,
    parameters: Parameters,
}

fn update(which: std::ops::Range<usize>, ranks: &dyn Ranks) -> Updated {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let groups = &batch.groups()[which];
    let model = model("policy");
    let totals = count(groups, ranks).unwrap();
    let anchors = Anchors { old: None, reference: None };
    let loss = LossSettings { scoring: SCORING, objective: OBJECTIVE, beta: 0.0, dropout: None };
    let sums = accumulate(&model, groups, anchors, totals, &loss).unwrap().unwrap();
    let settings = OptimizerSettings {
        adamw: AdamWSettings { eps: 1e-3, ..AdamWSettings::default() },
        schedule: LrSchedule {
            decay: Decay::Constant,
            base_lr: 1e-2,
            warmup_updates: 0,
            total_updates: 1,
        },
        clip_norm: 0.5,
        decay_vectors: false,
        rounds_weights: false,
        seed: 0,
        offload: false,
    };
    let mut optimizer = Optimizer::new(settings, model.parameters()).unwrap();
    let Stepped::Done(report) = optimizer.step(model.parameters(), 0, ranks).unwrap() else {
        panic!("gradients are not finite")
    };
    let sums = sums.sum_over(ranks).unwrap();
    Updated { sums, report, parameters: model.parameters().clone() }
}

#[test]
fn two_ranks_with_a_prompt_each_make_the_update_of_one_with_both() {
    let alone = update(0..2, &Solo);
    let [first, second] = Pair::both();
    let other = thread::spawn(move || update(1..2, &second));
    let (first, second) = (update(0..1, &first), other.join().unwrap());
    for (ours, theirs) in
        [(first.sums.loss, alone.sums.loss), (first.sums.n_tokens, alone.sums.n_tokens)]
    {
        assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
    }
    assert_eq!(first.sums, second.sums);
    assert_eq!(first.report, second.report);
    assert!((first.report.grad_norm / alone.report.grad_norm - 1.0).abs() < 1e-5);
    for parameter in alone.parameters.trained() {
        let name = parameter.name();
        let [one, two] = [&first, &second].map(|rank| rank.parameters.get(name).unwrap());
        let bits = |x: &Tensor| -> Vec<u32> {
            let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(one.value()), bits(two.value()), "{name}");
        let difference = relative_difference(one.value(), parameter.value());
        assert!(difference < 1e-5, "{name} differs by {difference:e}");
    }
}
