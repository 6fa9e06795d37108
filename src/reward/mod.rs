//! Rule-checked rewards: accuracy and format.
