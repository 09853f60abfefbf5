//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-SUAPO7HT.js";import"./chunk-3PDMU75S.js";export{a as Activity,b as Invitations,c as NewProject};
