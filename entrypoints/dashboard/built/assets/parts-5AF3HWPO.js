//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-STXJAZFU.js";import"./chunk-NGMBCHHY.js";export{a as Activity,b as Invitations,c as NewProject};
