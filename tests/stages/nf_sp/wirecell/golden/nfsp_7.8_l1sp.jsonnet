// Noise filter and signal processing of one APA of ProtoDUNE-HD, frames of a file in, frames of a file out. Rendered by dune-prompt: edit the
// campaign file, not this. Everything of the detector is the experiment's own configuration, found on WIRECELL_PATH.
//
//     wire-cell -V elecGain="7.8" --tla-code apa=1 -A infile=RAW.npz -A outfile=SP.npz -c nfsp.jsonnet
local wc = import 'wirecell.jsonnet';
local g = import 'pgraph.jsonnet';
local params = import 'pgrapher/experiment/pdhd/params.jsonnet';
local tools = (import 'pgrapher/common/tools.jsonnet')(params);
local noise_database = import 'pgrapher/experiment/pdhd/chndb-base.jsonnet';
local noise_filter = import 'pgrapher/experiment/pdhd/nf.jsonnet';
local signal_processing = (import 'pgrapher/experiment/pdhd/sp.jsonnet')(params, tools, { sparse: false });

function(apa, infile, outfile)
  local anode = tools.anodes[apa];
  local source = g.pnode({
    type: 'FrameFileSource',
    name: 'raw%d' % apa,
    data: { inname: infile, tags: [] },
  }, nin=0, nout=1);
  local resampler = g.pnode({
    type: 'Resampler',
    name: 'resampler%d' % apa,
    data: { period: 500 * wc.ns, time_pad: 'linear' },
  }, nin=1, nout=1, uses=[tools.dft]);
  local channels = {
    type: 'OmniChannelNoiseDB',
    name: 'channels%d' % apa,
    data: noise_database(params, anode, tools.field, apa) { dft: wc.tn(tools.dft) },
    uses: [anode, tools.field, tools.dft],
  };
  local sink = g.pnode({
    type: 'FrameFileSink',
    name: 'charge%d' % apa,
    data: { outname: outfile, tags: ['gauss%d' % apa, 'wiener%d' % apa], digitize: false, masks: true },
  }, nin=1, nout=0);
  local graph = g.pipeline([
    source,
    resampler,
    noise_filter(params, anode, channels, apa, name='nf%d' % apa),
    signal_processing.make_sigproc(anode, l1sp_pd_mode="process"),
    sink,
  ]);
  [{
    type: 'wire-cell',
    data: {
      plugins: ['WireCellAux', 'WireCellGen', 'WireCellPgraph', 'WireCellSio', 'WireCellSigProc'],
      apps: ['Pgrapher'],
    },
  }] + g.uses(graph) + [{ type: 'Pgrapher', data: { edges: g.edges(graph) } }]
