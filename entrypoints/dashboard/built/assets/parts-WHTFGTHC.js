//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-WAIECLGP.js";import"./chunk-AKLPCEZD.js";export{a as Activity,b as Invitations,c as NewProject};
