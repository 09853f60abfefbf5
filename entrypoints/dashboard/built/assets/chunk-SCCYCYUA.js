//# allFunctionsCalledOnLoad
import{u as r}from"./chunk-FNHOPTIQ.js";async function i(e){let[t,s]=[await r(`traces/${e}`,{}),await r(`evaluations/trace-scores/${e}`,{})];return`${t.trimEnd().slice(0,-1)},"scores":${s}}`.replace(/[\r\n]/g," ")}export{i as a};
