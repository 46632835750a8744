"""Raw data of ProtoDUNE: reads DUNE-DAQ HDF5 files into arrays `adc[channel, tick]`, and makes simulated ones of the same layout."""

from stages.rawdata.attributes import FileAttributes
from stages.rawdata.reader import Block, ElementSummary, RawFile, RecordId, RecordSummary
from stages.rawdata.structures import TriggerHeader

__all__ = ["Block", "ElementSummary", "FileAttributes", "RawFile", "RecordId", "RecordSummary", "TriggerHeader"]
